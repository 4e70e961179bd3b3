/** The same, without stage 1. */
import { lettersCritic } from './own-critic.ts';

export default lettersCritic(false);
