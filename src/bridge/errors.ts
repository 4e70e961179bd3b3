import { UserError } from '../user-error.ts';
import type { ErrorCode } from './messages.ts';

/** The wire's codes, and what can go wrong on the controller's side alone. */
export type BridgeErrorCode =
  | ErrorCode
  /** The worker died, fell silent or said goodbye: what it had in hand has no answer. */
  | 'worker_lost'
  /** The worker ended before it was ready. */
  | 'start_failed'
  /** There is no connection to this worker now. */
  | 'unreachable'
  /** This side was closed. */
  | 'closed'
  /**
   * The set-up is not allowed (an unprotected TCP endpoint, an unknown name, a big-endian machine).
   */
  | 'refused';

export interface BridgeErrorDetails {
  readonly worker?: string | null;
  /** The Python traceback, where there is one. */
  readonly traceback?: string | null;
  readonly cause?: unknown;
}

/** The only error that the bridge throws. */
export class BridgeError extends UserError {
  readonly code: BridgeErrorCode;
  readonly worker: string | null;
  readonly traceback: string | null;

  constructor(code: BridgeErrorCode, message: string, details: BridgeErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = 'BridgeError';
    this.code = code;
    this.worker = details.worker ?? null;
    this.traceback = details.traceback ?? null;
  }
}

/** What went wrong, in one line, of anything that was thrown. */
export function reasonOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
