r"""Submit from a laptop to a cluster that runs already, close the laptop, come back by job id.

    export RLE_EXAMPLE_TOKEN=...
    python -m examples.submit_from_laptop --address https://ray.example.com \
        --output SHOP.MAIN shop.yaml
    python -m examples.submit_from_laptop --job 3f2c9b1e-5a74-4d0c-9a53-0d9c1f6e2b7a

The first prints a job id and ends; the work goes on where the cluster is. The second may come hours
later: it shows what the job did meanwhile, waits for it, and prints where its predictions are.
"""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime

import rle
from rle.sdk.dataset_file import read_dataset

ENGINE = "cluster"


def main() -> None:
    """Submit a job, or come back to one."""
    options = arguments()
    connect(options.address, options.token_variable)
    is_new = options.job is None
    print(submit(options.dataset, options.output) if is_new else come_back(options.job))


def connect(address: str, token_variable: str) -> None:
    """Give the cluster a name, once; its token stays in the environment."""
    provider = rle.Provider()
    if provider.get_gnn(ENGINE) is None:
        provider.create_gnn(ENGINE, address=address, token_variable=token_variable)


def submit(dataset_file: str, output: str) -> str:
    """Queue training and prediction; returns the job's id, which is all that is needed later."""
    dataset = read_dataset(dataset_file)
    connector = dataset.connector
    config = rle.TrainerConfig(connector=connector, device="cpu", n_epochs=2, num_workers=0)
    database, schema = output.split(".")
    job = rle.Trainer(connector, config, engine=ENGINE).fit_predict(
        dataset=dataset,
        output_alias=f"laptop_{datetime.now(UTC):%Y%m%d_%H%M%S}",
        output_config=rle.OutputConfig.warehouse(database_name=database, schema_name=schema),
    )
    return job.job_id


def come_back(job_id: str) -> str:
    """Show what a job did and does until it ends; returns the names of its tables, as JSON."""
    job = rle.JobManager(engine=ENGINE).fetch_job(job_id)
    job.stream_logs()
    return json.dumps(job.export_paths)


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", nargs="?", help="dataset file, as Dataset.save writes it")
    parser.add_argument("--output", help="DB.SCHEMA that gets the predictions")
    parser.add_argument("--address", default="http://127.0.0.1:8265", help="the first time only")
    parser.add_argument("--token-variable", default="RLE_EXAMPLE_TOKEN", help="holds the token")
    parser.add_argument("--job", help="come back to this job")
    options = parser.parse_args()
    if options.job is None and not (options.dataset and "." in (options.output or "")):
        parser.error("give a dataset file and --output DB.SCHEMA to submit, or --job to come back")
    return options


if __name__ == "__main__":
    main()
