/**
 * Single questions, answered in batches: what is asked within a turn of the event loop, and while a
 * batch is being answered, goes together.
 */
import { setImmediate } from 'node:timers';

/**
 * @param answer gives one answer for each question, in order; where it fails, every question of
 * that batch does
 * @param largest questions of one batch
 */
export function batched<Question, Answer>(
  answer: (questions: readonly Question[]) => Promise<readonly Answer[]>,
  largest: number,
): (question: Question) => Promise<Answer> {
  let waiting: {
    question: Question;
    resolve: (answer: Answer) => void;
    reject: (error: unknown) => void;
  }[] = [];
  let running = false;
  const serve = async () => {
    while (waiting.length > 0) {
      const batch = waiting.slice(0, largest);
      waiting = waiting.slice(largest);
      try {
        const answers = await answer(batch.map(({ question }) => question));
        if (answers.length !== batch.length)
          throw new Error(`${batch.length} were asked for, and ${answers.length} came back`);
        batch.forEach(({ resolve }, i) => {
          resolve(answers[i]!);
        });
      } catch (error) {
        for (const { reject } of batch) reject(error);
      }
    }
    running = false;
  };
  return (question) =>
    new Promise((resolve, reject) => {
      waiting.push({ question, resolve, reject });
      if (running) return;
      running = true;
      setImmediate(() => void serve());
    });
}
