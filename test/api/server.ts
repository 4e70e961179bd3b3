/** An OpenAI-compatible server that answers, or misbehaves, as it is told. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Received {
  readonly authorization: string | undefined;
  readonly body: {
    readonly model: string;
    readonly messages: readonly { readonly role: string; readonly content: string }[];
    readonly [field: string]: unknown;
  };
}

/** `number` counts the requests from 0. */
export type Behaviour = (response: ServerResponse, received: Received, number: number) => void;

export interface MockServer {
  readonly url: string;
  readonly received: Received[];
  /** The most requests that were under way at once. */
  most: number;
  behave(behaviour: Behaviour): void;
  close(): Promise<void>;
}

const usage = { prompt_tokens: 100, completion_tokens: 10 };

export function answer(
  response: ServerResponse,
  content: string | null,
  rest: object = { usage },
): void {
  send(response, 200, {
    choices: [{ index: 0, finish_reason: 'stop', message: { role: 'assistant', content } }],
    ...rest,
  });
}

export function send(response: ServerResponse, status: number, body: unknown, headers = {}): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers });
  response.end(typeof body === 'string' ? body : JSON.stringify(body));
}

export async function startServer(): Promise<MockServer> {
  let behaviour: Behaviour = (response) => answer(response, 'It goes well. <score>8</score>');
  let open = 0;
  const received: Received[] = [];
  const server = createServer(async (request: IncomingMessage, response) => {
    mock.most = Math.max(mock.most, ++open);
    response.on('close', () => open--);
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const body = JSON.parse(Buffer.concat(chunks).toString()) as Received['body'];
    const one = { authorization: request.headers.authorization, body };
    received.push(one);
    behaviour(response, one, received.length - 1);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const mock: MockServer = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`,
    received,
    most: 0,
    behave: (next) => {
      behaviour = next;
    },
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
  return mock;
}
