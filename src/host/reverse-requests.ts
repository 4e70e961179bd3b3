/** Requests of the controller to its host while the host waits for an answer. */
import { BridgeError, type BridgeErrorCode } from '../bridge/errors.ts';
import { describeIssues, encode } from '../bridge/frames.ts';
import {
  type ReverseArguments,
  type ReverseOperationName,
  type ReverseResult,
  reverseOperations,
} from '../bridge/host-operations.ts';
import type { MessageOf } from '../bridge/messages.ts';
import type { Tensors } from '../bridge/tensor.ts';

export interface ReverseAnswer<O extends ReverseOperationName> {
  readonly result: ReverseResult<O>;
  readonly tensors: Tensors;
}

/** @throws BridgeError with what the host says is wrong, or that it is gone */
export type AskHost = <O extends ReverseOperationName>(
  operation: O,
  given: ReverseArguments<O>,
  tensors: Tensors,
) => Promise<ReverseAnswer<O>>;

interface Pending {
  readonly operation: ReverseOperationName;
  readonly frames: readonly Buffer[];
  settle(answer: MessageOf<'result' | 'error'>, tensors: Tensors): void;
  fail(error: BridgeError): void;
}

export class ReverseRequests {
  readonly #send: (frames: readonly Buffer[]) => void;
  readonly #pending = new Map<string, Pending>();
  #last = 0;

  /** @param send hands frames to the host; they are sent again when it reconnects */
  constructor(send: (frames: readonly Buffer[]) => void) {
    this.#send = send;
  }

  readonly ask: AskHost = (operation, given, tensors) =>
    new Promise((resolve, reject) => {
      const id = `c-${++this.#last}`;
      const frames = encode({ type: 'reverse_request', id, operation, arguments: given }, tensors);
      const done = () => this.#pending.delete(id);
      this.#pending.set(id, {
        ...{ operation, frames },
        settle: (answer, received) => {
          done();
          if (answer.type === 'error') {
            const { code, message, traceback } = answer;
            reject(new BridgeError(code as BridgeErrorCode, `the host: ${message}`, { traceback }));
            return;
          }
          const read = reverseOperations[operation].result.safeParse(answer.result);
          if (read.success) resolve({ result: read.data as never, tensors: received });
          else
            reject(
              new BridgeError(
                'bad_message',
                `the host's answer to ${operation}: ${describeIssues(read.error)}`,
              ),
            );
        },
        fail: (error) => {
          done();
          reject(error);
        },
      });
      this.#send(frames);
    });

  /** Returns false for an answer without a request, and for a second one. */
  take(answer: MessageOf<'result' | 'error'>, tensors: Tensors): boolean {
    const pending = answer.id === null ? undefined : this.#pending.get(answer.id);
    pending?.settle(answer, tensors);
    return pending !== undefined;
  }

  /** The host is back: what it has not answered may have been lost. It serves each request once. */
  again(): void {
    for (const { frames } of this.#pending.values()) this.#send(frames);
  }

  /** The host is gone. */
  end(reason: string): void {
    for (const { operation, fail } of [...this.#pending.values()])
      fail(new BridgeError('worker_lost', `${operation}: ${reason}`));
  }
}
