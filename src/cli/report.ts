import { writeReport } from '../reports/report.ts';

export async function reportCommand(folder: string): Promise<void> {
  console.log(await writeReport(folder));
}
