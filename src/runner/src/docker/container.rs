//! One container on the engine: created, attached to, started, removed.

use std::collections::HashMap;
use std::time::Duration;

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::models::ContainerCreateBody;
use bollard::query_parameters::{
    AttachContainerOptions, CreateContainerOptions, EventsOptions, InspectContainerOptions,
    KillContainerOptions, RemoveContainerOptions, StartContainerOptions,
};
use futures::{FutureExt as _, StreamExt as _};

use super::calls::{call, refusal};
use super::ready::{Ending, Line, Said};
use super::watch::{Gone, Watch, removal};
use crate::{Engine, RunnerError};

/// How long the removal of a sandbox may take: the engine unmounts its file systems.
pub(super) const REMOVAL: Duration = Duration::from_secs(30);
/// How long an engine that is removing a sandbox may be silent before it counts as hung. It answers
/// pings even when it is too busy for anything else.
pub(super) const SILENCE: Duration = Duration::from_secs(6);
/// How long an engine may take to say what it remembers.
const EVENTS: Duration = Duration::from_secs(3);
/// How long the engine is left alone after it has answered a ping.
const PING_PAUSE: Duration = Duration::from_secs(1);

/// What came of the removal of a container that may not have been created yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Removed {
    /// It was there, and is gone.
    Now,
    /// It is not there, yet or any more.
    NotThere,
    /// It may be there.
    No,
}

/// A container that was asked for, and may be there.
#[derive(Clone, Debug)]
pub(crate) struct Container {
    engine: Engine,
    name: String,
}

impl Container {
    /// Names one, before the engine is asked to create it.
    pub(super) fn new(engine: Engine, name: String) -> Self {
        Self { engine, name }
    }

    /// What the engine knows it by.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Has it created. After an error that is no refusal it may be there all the same.
    pub(super) async fn create(&self, body: ContainerCreateBody) -> Result<(), RunnerError> {
        let options = CreateContainerOptions {
            name: Some(self.name.clone()),
            platform: String::new(),
        };
        let created = self.engine.docker.create_container(Some(options), body);
        call("create a sandbox", created).await.map(drop)
    }

    /// Begins to wait for its removal.
    pub(super) fn watch(&self) -> Watch {
        Watch::new(removal(self.engine.docker.clone(), self.name.clone()))
    }

    /// Attaches to its streams.
    pub(super) async fn attach(&self) -> Result<Line, RunnerError> {
        let options = AttachContainerOptions {
            stream: true,
            stdin: true,
            stdout: true,
            stderr: true,
            ..AttachContainerOptions::default()
        };
        let docker = &self.engine.docker;
        let attach = docker.attach_container(&self.name, Some(options));
        let attached = call("attach to a sandbox", attach).await?;
        let said = |item| match item {
            Ok(LogOutput::StdOut { message }) => Ok(Said::Frames(message)),
            Ok(LogOutput::StdErr { message }) => Ok(Said::Diagnosis(message)),
            Ok(LogOutput::StdIn { .. } | LogOutput::Console { .. }) => {
                Err("it is not the engine's".to_owned())
            }
            Err(error) => Err(bollard::errors::Error::to_string(&error)),
        };
        Ok(Line {
            input: attached.input,
            output: attached.output.map(said).boxed(),
        })
    }

    /// Starts it.
    pub(super) async fn start(&self) -> Result<(), RunnerError> {
        let docker = &self.engine.docker;
        let start = docker.start_container(&self.name, None::<StartContainerOptions>);
        call("start a sandbox", start.boxed()).await
    }

    /// Its id and the number of its first process on the engine's machine; none when it does not
    /// run.
    pub(crate) async fn process(&self) -> Result<Option<(String, u32)>, RunnerError> {
        let docker = &self.engine.docker;
        let inspect = docker.inspect_container(&self.name, None::<InspectContainerOptions>);
        let found = match call("inspect a sandbox", inspect).await {
            Err(error) if refusal(&error) == Some(404) => return Ok(None),
            found => found?,
        };
        let pid = found.state.and_then(|state| state.pid);
        let pid = pid.and_then(|pid| u32::try_from(pid).ok());
        Ok(found.id.zip(pid.filter(|pid| *pid != 0)))
    }

    /// Whether the engine saw the kernel end something in it for want of memory. It is asked after the
    /// end; what it does not remember it does not say.
    pub(super) async fn ran_out_of_memory(&self) -> bool {
        let now = jiff::Timestamp::now().as_second();
        let filters = HashMap::from([
            ("container".to_owned(), vec![self.name.clone()]),
            ("event".to_owned(), vec!["oom".to_owned()]),
        ]);
        // Everything it remembers: clocks of two machines differ.
        let options = EventsOptions {
            since: Some("1".to_owned()),
            until: Some((now + 1).to_string()),
            filters: Some(filters),
        };
        let mut events = std::pin::pin!(self.engine.docker.events(Some(options)));
        let first = tokio::time::timeout(EVENTS, events.next()).await;
        matches!(first, Ok(Some(Ok(_))))
    }

    /// Ends it at once; who has attached to it sees its stream end.
    pub(crate) async fn kill(&self) {
        let docker = &self.engine.docker;
        let kill = docker.kill_container(&self.name, None::<KillContainerOptions>);
        if let Err(error) = call("kill a sandbox", kill).await {
            tracing::error!(container = self.name, %error, "a sandbox could not be killed");
        }
    }

    /// Removes it if it does not go by itself, and says whether it is gone.
    ///
    /// A failure is only logged: the run's report is worth more, and the reaper comes again. An
    /// engine that has fallen silent is not waited for.
    pub(super) async fn remove(&self, watch: &mut Watch, ending: Ending) -> bool {
        let removed = tokio::select! {
            removed = tokio::time::timeout(REMOVAL, self.see_off(watch, ending)) => {
                removed.unwrap_or(false)
            }
            () = silence(&self.engine.docker) => false,
        };
        if !removed {
            tracing::error!(container = self.name, "a sandbox could not be removed");
        }
        removed
    }

    /// Removes it if it is there already, and says whether it was.
    pub(super) async fn remove_late(&self) -> Removed {
        let docker = &self.engine.docker;
        let options = RemoveContainerOptions {
            force: true,
            ..RemoveContainerOptions::default()
        };
        let removal = docker.remove_container(&self.name, Some(options));
        let removal = call("remove a sandbox", removal);
        let removed = tokio::select! {
            removed = removal => removed,
            () = silence(docker) => return Removed::No,
        };
        match removed {
            Ok(()) => Removed::Now,
            Err(error) if refusal(&error) == Some(404) => Removed::NotThere,
            Err(_) => Removed::No,
        }
    }

    async fn see_off(&self, watch: &mut Watch, ending: Ending) -> bool {
        if ending == Ending::ByItself && is_gone(watch, REMOVAL / 2).await {
            return true;
        }
        let options = RemoveContainerOptions {
            force: true,
            ..RemoveContainerOptions::default()
        };
        let docker = &self.engine.docker;
        let removal = docker.remove_container(&self.name, Some(options));
        match call("remove a sandbox", removal).await {
            Ok(()) => true,
            Err(error) => match refusal(&error) {
                Some(404) => true,
                // Its removal is under way.
                Some(409) => is_gone(watch, REMOVAL).await,
                _ => false,
            },
        }
    }
}

async fn is_gone(watch: &mut Watch, limit: Duration) -> bool {
    matches!(watch.gone_within(limit).await, Gone::Removed(_))
}

/// Returns when the engine does not answer any more.
pub(super) async fn silence(docker: &Docker) {
    while let Ok(Ok(_)) = tokio::time::timeout(SILENCE, docker.ping()).await {
        tokio::time::sleep(PING_PAUSE).await;
    }
}
