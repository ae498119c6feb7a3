"""The objects that all requests of a process share, and how they are made.

The server, the commands and the RQ workers start here, so all of them use the same weights. Where
several Label Studios use one backend, each has a service. The services share the model, its queue
and the caches. A key in a cache names its team, so no team finds what belongs to another team.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from backend.embeddings.disk_tier import DiskTier
from backend.embeddings.redis_tier import RedisTier
from backend.embeddings.segmenter import Segmenter, SharedByTeams
from backend.embeddings.store import EmbeddingStore
from backend.embeddings.tiers import Tier
from backend.http import certificates
from backend.http.client import HttpClient, Limits
from backend.images.fetching import Fetcher
from backend.images.freshness import ImageWatch
from backend.images.loading import ImageLoader
from backend.label_studio.api_key import ApiKey
from backend.label_studio.client import LabelStudio
from backend.label_studio.setup_info import SetupInfoFile
from backend.predictions.retrieval import Retrieval
from backend.prefetch import Prefetcher
from backend.quality.places import FolderPlace, Place, RedisPlace
from backend.quality.recorder import Recorder
from backend.settings import WAITING_CLICKS, Settings
from backend.versions.project_decoders import ProjectDecoders
from backend.versions.store import DecoderVersions
from backend.watchdog import WatchedEngine
from model import weights
from model.engines import Engine
from model.predictor import Predictor, load_predictor

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Service:
    """The loaded model, and the images and caches of one Label Studio. Threads may share it.

    Attributes:
        settings: of this Label Studio.
    """

    settings: Settings
    engine: WatchedEngine
    segmenter: Segmenter
    images: ImageLoader
    decoders: ProjectDecoders
    prefetcher: Prefetcher
    retrieval: Retrieval
    recorder: Recorder
    label_studio: LabelStudio

    def segmenter_of(self, project_id: int | None) -> Segmenter:
        """The segmenter with the decoder of a project; see :meth:`ProjectDecoders.of`."""
        return _segmenter_of(self.segmenter, self.decoders, project_id)

    def start_background(self) -> None:
        """Begin to work in the background: on the next images, late tasks, decoders and counts."""
        self.prefetcher.start()
        self.retrieval.start()
        self.decoders.start()
        self.recorder.start()

    @classmethod
    def start(cls, settings: Settings) -> Service:
        """Start a service alone, for one Label Studio.

        Args:
            settings: of this Label Studio. The settings of other teams are not used.

        Raises:
            OSError, ValueError: see :meth:`Services.start`.
        """
        return _Shared.start(settings).service(settings)


@dataclass(frozen=True)
class Services:
    """The service of each team.

    Attributes:
        by_team: the services by the name of the team. One Label Studio has the name "".
    """

    by_team: Mapping[str, Service]

    @classmethod
    def start(cls, settings: Settings) -> Services:
        """Find the weights, load the model and connect the caches.

        The published checkpoint is downloaded if it is missing. Nothing happens in the background
        before :meth:`start_background` is called.

        Raises:
            OSError, ValueError: the checkpoint or the engine cannot be used. The message says why.
        """
        shared = _Shared.start(settings)
        teams = settings.teams or {"": settings}
        return cls({name: shared.service(of_team) for name, of_team in teams.items()})

    @property
    def any(self) -> Service:
        """A service, for what all teams have in common: the model."""
        return next(iter(self.by_team.values()))

    def start_background(self) -> None:
        """See :meth:`Service.start_background`."""
        for service in self.by_team.values():
            service.start_background()

    def others_at(self, url: str, team: str) -> list[str]:
        """The teams whose Label Studio is at a URL, if that is not the Label Studio of ``team``."""
        if self.by_team[team].label_studio.is_set_to(url):
            return []
        return [name for name, one in self.by_team.items() if one.label_studio.is_set_to(url)]


@dataclass(frozen=True)
class _Shared:
    """What the services of a process share."""

    engine: WatchedEngine
    predictor: Predictor
    store: EmbeddingStore
    by_teams: SharedByTeams

    @classmethod
    def start(cls, settings: Settings) -> _Shared:
        checkpoint = weights.obtain(settings.checkpoint, settings.model_dir)
        loaded = load_predictor(
            checkpoint.path, settings.engine, settings.precision, settings.model_dir
        )
        _check_workers(settings, loaded.engine)
        engine = WatchedEngine(loaded.engine)
        logger.info("ready: %s on %s", checkpoint.model_version, engine.description)
        predictor = Predictor(engine, loaded.checkpoint)
        store = _store(settings, predictor.features_shape)
        return cls(engine, predictor, store, SharedByTeams.of(predictor))

    def service(self, settings: Settings) -> Service:
        """The service of one Label Studio."""
        team = settings.team
        http = connect_http(settings)
        label_studio = connect_label_studio(settings, http)
        is_known = settings.label_studio_url is not None or settings.basic_auth is not None
        fetcher = Fetcher(label_studio, http, settings.local_files_document_root)
        images = ImageLoader(fetcher)
        segmenter = Segmenter(
            self.predictor,
            self.store,
            images,
            ImageWatch(fetcher),
            team=team,
            shared=self.by_teams,
        )
        decoders = ProjectDecoders(
            self.predictor, connect_versions(settings), settings.learnt_decoders, team
        )
        api = label_studio if is_known else None
        return Service(
            settings=settings,
            engine=self.engine,
            segmenter=segmenter,
            images=images,
            decoders=decoders,
            prefetcher=Prefetcher(segmenter, api, team),
            retrieval=Retrieval(partial(_segmenter_of, segmenter, decoders), api, team=team),
            recorder=Recorder(_place(settings), api, team),
            label_studio=label_studio,
        )


def _segmenter_of(
    segmenter: Segmenter, decoders: ProjectDecoders, project_id: int | None
) -> Segmenter:
    decoder = decoders.of(project_id)
    return segmenter.with_decoder(decoder.predictor, decoder.model_version)


def _check_workers(settings: Settings, engine: Engine) -> None:
    """Several processes on one GPU would each load the model and wait for each other."""
    if settings.workers > 1 and engine.device != "cpu":
        raise ValueError(
            f"WORKERS is {settings.workers}, and the engine runs on {engine.device}: set WORKERS to"
            " 1. The threads of one process share the GPU, and THREADS says how many there are."
        )


def connect_http(settings: Settings, limits: Limits | None = None) -> HttpClient:
    """The HTTP client for everything outside.

    Args:
        settings: which hosts are allowed, and whose certificates are trusted.
        limits: of every request; None for the usual.

    Raises:
        ValueError: a file of certificate authorities cannot be used.
    """
    tls = certificates.trust(settings.certificate_authorities)
    return HttpClient(settings.allowed_hosts, limits, tls=tls)


def connect_label_studio(settings: Settings, http: HttpClient | None = None) -> LabelStudio:
    """The client of Label Studio. Nothing is sent yet.

    Args:
        settings: the URL and the token of Label Studio.
        http: the HTTP client to use, or None for a new client.
    """
    return LabelStudio(
        settings.label_studio_url,
        ApiKey(settings.label_studio_api_key, settings.label_studio_api_key_file),
        http or connect_http(settings),
        SetupInfoFile(settings.cache_dir / f"label-studio{_suffix(settings.team)}.json"),
    )


def _place(settings: Settings) -> Place:
    if settings.redis_url:
        prefix = ":".join(filter(None, ["mobile-sam:suggestions", settings.team]))
        return RedisPlace(settings.redis_url, prefix)
    return FolderPlace(settings.cache_dir / "suggestions" / settings.team)


def connect_versions(settings: Settings) -> DecoderVersions:
    """The learnt decoders of projects. Nothing is read yet."""
    folder = settings.model_dir / "projects"
    return DecoderVersions(folder, settings.redis_url, settings.team)


def _suffix(team: str) -> str:
    return f"-{team}" if team else ""


def _store(settings: Settings, features_shape: tuple[int, ...]) -> EmbeddingStore:
    tiers: list[Tier] = []
    if settings.cache_disk_gb:
        tiers.append(DiskTier(settings.cache_dir, int(settings.cache_disk_gb * 2**30)))
    if settings.redis_url:
        tiers.append(RedisTier(settings.redis_url))
    return EmbeddingStore(
        settings.cache_memory_mb << 20,
        tiers,
        features_shape=features_shape,
        max_waiting=WAITING_CLICKS,
    )
