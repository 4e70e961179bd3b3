import type { MessageOf } from './messages.ts';
import type { Arguments, OperationName, Result } from './operations.ts';
import type { Tensors } from './tensor.ts';

export interface RequestOptions {
  readonly tensors?: Tensors;
  /** Milliseconds from now after which the request fails with code `deadline`. */
  readonly deadlineMs?: number;
  /** Aborting cancels the request in the worker; the promise rejects with code `cancelled`. */
  readonly signal?: AbortSignal;
  readonly onPartial?: (partial: { data: MessageOf<'partial'>['data']; tensors: Tensors }) => void;
}

export interface Reply<O extends OperationName> {
  readonly result: Result<O>;
  readonly tensors: Tensors;
  /** Seconds of computing in the worker. */
  readonly seconds: number;
}

/**
 * A Python process that holds models, as the controller sees it. Requests to one worker are served
 * in the order in which they were made.
 */
export interface Worker {
  readonly name: string;
  /** Versions and devices, as the worker reported them when it was ready. */
  readonly ready: MessageOf<'ready'>;
  /**
   * Fails with a `BridgeError` (code, message, the worker's name; the Python traceback where there
   * is one).
   */
  request<O extends OperationName>(
    operation: O,
    args: Arguments<O>,
    options?: RequestOptions,
  ): Promise<Reply<O>>;
}
