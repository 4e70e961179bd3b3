/**
 * A rule-based oracle for arithmetic: it can calculate, and reads what a response claims step by
 * step. Its scores are not calibrated to the actor; stage 2 does that.
 */
import { parameterCount } from '../../src/index.ts';

export interface Profile {
  readonly parameters: number;
  /** In [0, 1]. */
  readonly success_rate: number;
}

export interface Judgement {
  readonly rationale: string;
  /** Integer 0..10. */
  readonly score: number;
}

/** `7 + 5 - 2 = 10` in what somebody wrote. */
export interface Equation {
  readonly left: string;
  readonly claimed: number;
  /** What the left side is. */
  readonly value: number;
}

const number = '-?\\d{1,9}';
const pattern = new RegExp(`(${number}(?:\\s*[-+*×]\\s*${number})+)\\s*=\\s*(${number})`, 'g');

/** The equations of a text, in their order. */
export function equationsOf(text: string): Equation[] {
  return [...text.matchAll(pattern)].map(([, left, claimed]) => ({
    left: left!.replace(/\s+/g, ' ').trim(),
    claimed: Number(claimed),
    value: calculate(left!),
  }));
}

/** Products first, then from left to right. */
function calculate(expression: string): number {
  const [first, ...rest] = [...expression.matchAll(/([-+*×]?)\s*(-?\d+)/g)];
  const sums = [Number(first![0])];
  for (const [, operator, operand] of rest) {
    const value = Number(operand);
    if (operator === '*' || operator === '×') sums.push(sums.pop()! * value);
    else sums.push(operator === '-' ? -value : value);
  }
  return sums.reduce((total, one) => total + one, 0);
}

/** What a good critic would write of a partial response, without knowing how it ends. */
export function judge(
  question: string,
  answer: number,
  partial: string,
  { parameters, success_rate }: Profile,
): Judgement {
  const asked = /[-\d][-+*× \d]*\d/.exec(question)?.[0].trim() ?? question;
  const percent = Math.round(100 * success_rate);
  const begin = [
    `${asked} = ${answer}.`,
    `The actor has ${parameterCount(parameters)} parameters and solves ${percent}% of such ` +
      'problems.',
  ];
  const end = (words: string, chance: number): Judgement => ({
    rationale: [...begin, words].join(' '),
    score: Math.round(10 * Math.min(1, Math.max(0, chance))),
  });
  if (partial.trim() === '') return end('It has written nothing yet.', success_rate);
  const equations = equationsOf(partial);
  const steps = equations.map(({ left, claimed, value }) =>
    claimed === value
      ? `${left} = ${claimed} is right.`
      : `${left} = ${claimed} is wrong, it is ${value}.`,
  );
  const last = [...partial.matchAll(/-?\d+/g)].map(([text]) => Number(text)).at(-1);
  if (last === undefined) return end('It has stated no number so far.', 0.8 * success_rate);
  if (equations.some(({ claimed, value }) => claimed !== value)) return end(steps.join(' '), 0.1);
  if (last === answer) return end([...steps, `It has come to ${last}, the answer.`].join(' '), 0.8);
  const words = [...steps, `It has come to ${last}, which is not the answer yet.`].join(' ');
  return end(words, equations.length > 0 ? success_rate : 0.1);
}
