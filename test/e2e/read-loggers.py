"""What the loggers' own packages read of what was logged, as JSON: `read-loggers.py RUN_FOLDER TRACKIO_FOLDER PROJECT`."""

import glob
import json
import os
import sys

run, trackio, project = sys.argv[1:]
os.environ["TRACKIO_DIR"] = trackio

from genac_bridge.functions.wandb_files import records  # noqa: E402
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # noqa: E402
from trackio.sqlite_storage import SQLiteStorage  # noqa: E402


events = EventAccumulator(os.path.join(run, "tensorboard"))
events.Reload()
tensorboard = {
    tag: [[e.step, e.value] for e in events.Scalars(tag)]
    for tag in events.Tags()["scalars"]
}
texts = {tag: len(events.Tensors(tag)) for tag in events.Tags()["tensors"]}

wandb = []
for path in sorted(glob.glob(os.path.join(run, "wandb", "offline-run-*", "*.wandb"))):
    part = {"id": None, "rows": [], "config": []}
    for record in records(path):
        if record.HasField("run"):
            part["id"] = record.run.run_id
            part["config"] += [item.key for item in record.run.config.update]
        if record.HasField("history"):
            items = record.history.item
            part["rows"].append(
                {
                    item.key or "/".join(item.nested_key): json.loads(item.value_json)
                    for item in items
                }
            )
    wandb.append(part)

runs = SQLiteStorage.get_run_records(project)
logs = [SQLiteStorage.get_logs(project, r["name"], run_id=r["id"]) for r in runs]
config = [
    SQLiteStorage.get_run_config(project, r["name"], run_id=r["id"]) for r in runs
]
print(
    json.dumps(
        {
            "tensorboard": tensorboard,
            "texts": texts,
            "wandb": wandb,
            "trackio": {
                "runs": [r["name"] for r in runs],
                "logs": logs,
                "config": [sorted(c or {}) for c in config],
            },
        },
        default=str,
    )
)
