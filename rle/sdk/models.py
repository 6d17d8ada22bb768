"""ModelManager: the trained models of all runs, and the names they are registered under."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from rle.connectors.base import Connector
from rle.errors import ValidationError
from rle.runs.folders import model_folder
from rle.runs.registry import Registry
from rle.spec.predict_request import as_version
from rle.spec.show import say

if TYPE_CHECKING:
    from rle.runs.trained import RegisteredVersion, TrainedModel


class ModelManager:
    """Lists, registers and deletes models.

    MLflow keeps them: at $MLFLOW_TRACKING_URI, or in $RLE_HOME where that is not set. Models that
    were registered in MLflow's own pages are listed and used the same way.

    Args:
        connector: Where the tables are. Models do not depend on it: it is for warehouses that keep
            models themselves.

    Raises:
        ConnectionError: MLflow cannot be reached. So do all methods.
    """

    def __init__(self, connector: Connector | None = None) -> None:
        if connector is not None and not isinstance(connector, Connector):
            raise ValidationError(f"connector must be a connector, not {connector!r}.")
        self.connector = connector
        self._registry = Registry()

    def list_models(self, experiment_name: str | None = None) -> tuple[TrainedModel, ...]:
        """Return the runs that hold a trained model, the newest first.

        Args:
            experiment_name: "dataset/task_type/task"; None: of all experiments.

        Raises:
            UnknownNameError: There is no such experiment.
        """
        return tuple(m for m in self._registry.models(experiment_name) if m.has_model)

    def list_registered_models(
        self, model_name: str | None = None
    ) -> tuple[RegisteredVersion, ...]:
        """Return all registered versions, or those of one model; by name, then by number.

        Raises:
            UnknownNameError: There is no such model.
        """
        return self._registry.versions(model_name)

    def registered_models(self, model_run_id: str) -> tuple[RegisteredVersion, ...]:
        """Return the registered versions of one run's model; empty where there is none."""
        return self._registry.versions_of(model_run_id)

    def register_model(
        self,
        model_run_id: str,
        model_name: str,
        *,
        version_name: str | None = None,
        comment: str | None = None,
    ) -> RegisteredVersion:
        """Register a run's model as the next version of `model_name`: "1", then "2" and so on.

        The model is read first, so that what is registered can be used. `predict` takes it as
        registered_model_name and version.

        Args:
            model_run_id: The run that trained it.
            model_name: The registered model; made where it is not there.
            version_name: Another name for the version, shown in MLflow as its alias.
            comment: Shown beside the version.

        Raises:
            UnknownNameError: There is no such run.
            ModelManagerError: The run holds no model, is registered as `model_name` already, or
                `version_name` is taken.
            ValidationError: A name is impossible.
        """
        version = self.register(
            model_run_id, model_name, version_name=version_name, comment=comment
        )
        say(
            f"Successfully registered model {version.name!r} with version {version.version!r} for "
            f"run {model_run_id!r}"
        )
        return version

    def register(
        self, model_run_id: str, model_name: str, *, version_name: str | None, comment: str | None
    ) -> RegisteredVersion:
        """Do what `register_model` does, and print nothing."""
        from rle.inference.find_model import model_of_run

        model_of_run(model_run_id, self._registry)
        return self._registry.register(
            model_run_id, model_name, alias=version_name, comment=comment
        )

    def delete_model(self, model_run_id: str, *, delete_experiment_run: bool = True) -> None:
        """Delete a run's model, here and in MLflow. It cannot be brought back.

        Args:
            model_run_id: The run that trained it.
            delete_experiment_run: Whether its run leaves MLflow's pages and this home too; its
                metrics stay otherwise.

        Raises:
            UnknownNameError: There is no such run.
            ModelManagerError: It is registered; see `delete_registered_model`.
        """
        self._registry.delete_model(model_run_id, with_run=delete_experiment_run)
        run = model_folder(model_run_id).parent
        doomed = [run] if delete_experiment_run else [run / "model", run / "training"]
        for folder in doomed:
            shutil.rmtree(folder, ignore_errors=True)
        say(f"Deleted the model of run {model_run_id!r}")

    def delete_registered_model(self, model_name: str, version: str | int | None = None) -> None:
        """Delete a registered name, or one version of it. The trained model itself stays.

        Args:
            model_name: The registered model.
            version: One version, "1" for the first; None: the name with all its versions.

        Raises:
            UnknownNameError: There is no such model or version.
        """
        number = as_version(version)
        self._registry.delete_versions(model_name, number)
        what = f"version {number!r} of " if number is not None else ""
        say(f"Deleted {what}registered model {model_name!r}; the trained models stay")

    def __repr__(self) -> str:
        return f"<ModelManager of {self._registry.place}>"
