//! The documented facade for the command line, the server and those who embed us.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use llm::Model;
use runner::images::Environment;
use runner::{ImageId, Observer, Program, RunHost, SandboxSpec, Sandboxes};
use spec::wire::{RunContext, RunJson};
use spec::{
    Determinism, Digest, Imports, LimitSources, OutputStream, Place, RunReport, SubagentName, Tree,
    VersionRef,
};
use store::{Exchange, RunEnvironment, RunPlace, RunProgram, RunRecord, Store};
use tokio_util::sync::CancellationToken;

use crate::assets::Assets;
use crate::blobs::StoreBlobs;
use crate::broker::SkillBroker;
use crate::budget::Tokens;
use crate::compose::Dependencies;
use crate::context::Context;
use crate::egress::{self as network, Egress};
use crate::environments::{EnvironmentSettings, Prepared, is_outdated};
use crate::error::FactoryError;
use crate::output_log::{LogHeader, OutputLog, Queue};
use crate::run::{FinishedRun, Requirements, RunRequest, program_of_version, source_files};
use crate::shell::ShellPolicy;
use crate::trust::TrustPolicy;
use crate::watch::{Event, Watcher};

/// Everything that running and solving needs.
#[derive(Clone, Debug)]
pub struct Factory {
    /// The library and the records.
    pub store: Arc<Store>,
    /// The folder with the tasks' logs.
    pub tasks: PathBuf,
    /// The folder with the output of the runs that are running.
    pub outputs: PathBuf,
    /// What runs programs.
    pub sandboxes: Arc<dyn Sandboxes>,
    /// What sandboxes are made from.
    pub image: ImageId,
    /// The harness in that image, for records.
    pub harness: Option<Digest>,
    /// What the engine is, for records.
    pub engine: String,
    /// The Meta-Agent's model.
    pub model: Option<Arc<dyn Model>>,
    /// The subagents' model.
    pub subagent_model: Option<Arc<dyn Model>>,
    /// The way to the network, as far as the operator allows it.
    pub egress: Egress,
    /// Where environments come from; none forbids requirements.
    pub environments: Option<EnvironmentSettings>,
    /// What becomes of the shell commands of subagents.
    pub shell: ShellPolicy,
    /// What is demanded of saved versions before they run.
    pub trust: TrustPolicy,
    /// Skills and prompts.
    pub assets: Assets,
    /// Clock and ids.
    pub context: Arc<dyn Context>,
}

/// What a run was of and on.
struct Ran<'a> {
    program: &'a Program,
    image: &'a ImageId,
    environment: Option<Environment>,
}

#[derive(Debug)]
struct Output {
    watcher: Arc<dyn Watcher>,
    log: Arc<Queue>,
}

impl Observer for Output {
    fn output(&self, stream: OutputStream, bytes: &[u8]) {
        self.log.push(stream, bytes);
        self.watcher.event(&Event::Output { stream, bytes });
    }
}

impl Factory {
    /// Runs one program in a sandbox and records the run.
    ///
    /// # Errors
    /// [`FactoryError`] when no run took place, or its record could not be kept.
    pub async fn run(
        &self,
        request: &RunRequest,
        watcher: &Arc<dyn Watcher>,
        cancel: CancellationToken,
    ) -> Result<FinishedRun, FactoryError> {
        self.run_within(request, &Arc::new(Tokens::new(u64::MAX)), watcher, cancel)
            .await
    }

    /// [`Self::run`], counting the subagent's tokens against a task's budget.
    pub(crate) async fn run_within(
        &self,
        request: &RunRequest,
        tokens: &Arc<Tokens>,
        watcher: &Arc<dyn Watcher>,
        cancel: CancellationToken,
    ) -> Result<FinishedRun, FactoryError> {
        request.limits.check()?;
        watcher.event(&Event::RunBegan {
            what: &request.shown,
        });
        let at = self.context.now();
        let run = self.context.run_id();
        let program = self.composed(request).await?;
        // A home that cannot be written is noticed before anything runs.
        self.store.put(&request.tree.to_bytes())?;
        let prepared = match self.remembered(request).await {
            None => Box::pin(self.environment_of(request, watcher, &cancel)).await?,
            remembered => remembered,
        };
        let door = self.egress.proxy(&request.egress, &self.store).await?;
        let proxy = door.as_ref().map(|door| door.proxy.clone());
        let header = LogHeader::new(run, at, &request.shown, request.version);
        let log = OutputLog::create(&self.outputs, &header);
        let log = log.map_err(|source| FactoryError::OutputLog {
            path: self.outputs.clone(),
            source,
        })?;
        let broker = Arc::new(SkillBroker::new(
            request.grants.clone(),
            self.subagent_model.clone(),
            Arc::clone(tokens),
            proxy.clone(),
            self.shell.clone(),
        ));
        let host = RunHost {
            blobs: Arc::new(StoreBlobs(Arc::clone(&self.store))),
            broker: Arc::clone(&broker) as _,
            observer: Arc::new(Output {
                watcher: Arc::clone(watcher),
                log: log.queue(),
            }),
        };
        let sandbox = SandboxSpec {
            run,
            image: self.image_of(prepared.as_ref()),
            program: program.clone(),
            tree: Arc::clone(&request.tree),
            mounts: request.mounts.clone(),
            limits: request.limits.clone(),
            determinism: request.determinism,
            imports: self.imports_of(request, prepared.as_ref()),
            runtime: None,
            proxy: door.map(|door| runner::Proxy {
                certificates_pem: door.certificates_pem,
            }),
        };
        let ran = self.run_sandbox((request, prepared), sandbox, host, watcher, cancel);
        let (ran, prepared) = ran.await;
        let mut report = match ran {
            Ok(report) => report,
            Err(error) => {
                log.discard();
                return Err(error);
            }
        };
        let ledger = broker.ledger();
        report.usage.skills = ledger.usage;
        let network = proxy.map(|proxy| proxy.ledger());
        report.usage.egress = network.as_ref().map(network::usage);
        watcher.event(&Event::RunEnded {
            outcome: &report.outcome,
            wall: report.usage.wall,
        });

        let output = spec::wire::output_tree(&report, &request.tree);
        let json = RunJson::new(
            &report,
            &RunContext {
                run,
                version: request.version,
                input_tree: request.tree.digest(),
                output_tree: output.as_ref().map(Tree::digest),
                writable_mounts: request.mounts.iter().any(|mount| mount.writable),
                replayable: network.as_ref().is_none_or(egress::Ledger::is_replayable),
            },
        );
        self.remember(request, prepared.as_ref(), &report).await;
        let ran = Ran {
            program: &program,
            image: &self.image_of(prepared.as_ref()),
            environment: prepared.map(|prepared| prepared.environment),
        };
        let record = self.record(request, &ran, at, &json, &report.place, ledger.cassette)?;
        let record = self.keep(record, &request.tree, output.as_ref()).await?;
        // Now the record says what the log said.
        if let Err(error) = log.finish(report.outcome.kind()).await {
            tracing::warn!(%run, %error, "the output of a run could not be followed to its end");
        }
        Ok(FinishedRun {
            report,
            output,
            json,
            record,
        })
    }

    /// Keeps the record of a run and its trees.
    async fn keep(
        &self,
        record: RunRecord,
        input: &Tree,
        output: Option<&Tree>,
    ) -> Result<Digest, FactoryError> {
        let store = Arc::clone(&self.store);
        let trees = [Some(input.to_bytes()), output.map(Tree::to_bytes)];
        let kept = tokio::task::spawn_blocking(move || {
            for tree in trees.into_iter().flatten() {
                store.put(&tree)?;
            }
            store.record_run(&record)
        });
        Ok(kept.await??)
    }

    /// Runs a program in a sandbox, once more where the engine has lost its environment, which the cache
    /// did not know. Gives that back with what is so of it now.
    async fn run_sandbox(
        &self,
        (request, prepared): (&RunRequest, Option<Prepared>),
        mut sandbox: SandboxSpec,
        host: RunHost,
        watcher: &Arc<dyn Watcher>,
        cancel: CancellationToken,
    ) -> (Result<RunReport, FactoryError>, Option<Prepared>) {
        let ran = (sandbox.clone(), host.clone(), cancel.clone());
        match self.sandboxes.run(ran.0, ran.1, ran.2).await {
            Err(error) if is_outdated(&error, prepared.as_ref()) => {
                let made = Box::pin(self.environment_of(request, watcher, &cancel));
                let prepared = match made.await {
                    Ok(prepared) => prepared,
                    Err(error) => return (Err(error), prepared),
                };
                sandbox.image = self.image_of(prepared.as_ref());
                let ran = self.sandboxes.run(sandbox, host, cancel).await;
                (ran.map_err(Into::into), prepared)
            }
            ran => (ran.map_err(Into::into), prepared),
        }
    }

    /// What a run's sandbox is made from.
    fn image_of(&self, prepared: Option<&Prepared>) -> ImageId {
        let image = prepared.map(|prepared| &prepared.environment.image);
        image.unwrap_or(&self.image).clone()
    }

    /// What a run's sandbox has on the sandbox image, if the cache knows it: then the engine is not asked.
    async fn remembered(&self, request: &RunRequest) -> Option<Prepared> {
        // What it depends on may require more.
        if request.requirements.is_empty() || !request.depends.is_empty() {
            return None;
        }
        let settings = self.environments.as_ref()?;
        let prepared = settings.remembered(&self.image, &request.requirements)?;
        self.holds(&prepared).await.then_some(prepared)
    }

    /// What a sandbox that waits for this run has imported.
    fn imports_of(&self, request: &RunRequest, prepared: Option<&Prepared>) -> Imports {
        match (&self.environments, prepared) {
            (Some(settings), Some(prepared)) => {
                settings.imports(prepared, &request.program, request.determinism)
            }
            _ => Imports::NONE,
        }
    }

    /// Remembers what a run imported of its environment.
    async fn remember(
        &self,
        request: &RunRequest,
        prepared: Option<&Prepared>,
        report: &RunReport,
    ) {
        let (Some(settings), Some(prepared)) = (&self.environments, prepared) else {
            return;
        };
        if report.imports.is_empty() {
            return;
        }
        let (settings, prepared) = (settings.clone(), prepared.clone());
        let (program, imports) = (request.program.clone(), report.imports.clone());
        let write = move || settings.remember(&prepared, &program, &imports);
        // The next run imports it itself.
        if let Ok(Err(error)) = tokio::task::spawn_blocking(write).await {
            tracing::warn!(%error, "what a run imported could not be remembered");
        }
    }

    /// What a run's sandbox has on the sandbox image.
    async fn environment_of(
        &self,
        request: &RunRequest,
        watcher: &Arc<dyn Watcher>,
        cancel: &CancellationToken,
    ) -> Result<Option<Prepared>, FactoryError> {
        let (store, depends) = (Arc::clone(&self.store), request.depends.clone());
        let read = move || Dependencies::read(&store, &depends);
        let dependencies = tokio::task::spawn_blocking(read).await??;
        let none = Vec::new();
        let wanted = match &request.requirements {
            Requirements::Locked {
                requirements,
                python,
            } => {
                let merged = dependencies.merged(requirements)?;
                let made = self.locked(&merged, python, watcher, cancel);
                return Ok(Some(made.await?));
            }
            Requirements::Wanted(wanted) => wanted,
            Requirements::None => &none,
        };
        if wanted.is_empty() && dependencies.locked_python()?.is_none() {
            return Ok(None);
        }
        let made = self.prepare_with(wanted, &dependencies, watcher, cancel);
        Ok(Some(made.await?))
    }

    /// Everything that is known of a run.
    fn record(
        &self,
        request: &RunRequest,
        ran: &Ran<'_>,
        at: Timestamp,
        json: &RunJson,
        place: &Place,
        cassette: Vec<Exchange>,
    ) -> Result<RunRecord, FactoryError> {
        Ok(RunRecord {
            at,
            report: json.clone(),
            name: request.name.clone(),
            program: self.record_program(ran.program)?,
            grants: request.grants.clone(),
            egress: request.egress.iter().map(ToString::to_string).collect(),
            limits: request.limits.clone(),
            image: ran.image.0,
            engine: self.engine.clone(),
            place: RunPlace {
                runtime: place.runtime.clone(),
                python: place.python.clone(),
                harness: self.harness,
                environment: ran.environment.as_ref().map(|environment| RunEnvironment {
                    key: environment.key,
                    layer: environment.layer,
                }),
            },
            depends: request.depends.clone(),
            determinism: request.determinism,
            mounts: request
                .mounts
                .iter()
                .map(|mount| mount.name.clone())
                .collect(),
            cassette,
        })
    }

    /// What ran, in a form that can be run again.
    fn record_program(&self, program: &Program) -> Result<RunProgram, FactoryError> {
        Ok(match program {
            Program::Shell { command } => RunProgram::Shell {
                command: command.clone(),
            },
            Program::Subagent {
                files,
                entry,
                query,
            } => {
                let files: Vec<_> = files
                    .iter()
                    .map(|file| (file.path.clone(), file.content.to_vec()))
                    .collect();
                RunProgram::Subagent {
                    source: self.store.put_source(&files)?,
                    entry: entry.clone(),
                    query: query.clone(),
                }
            }
        })
    }

    /// The program with all that it depends on.
    async fn composed(&self, request: &RunRequest) -> Result<Program, FactoryError> {
        let Program::Subagent {
            files,
            entry,
            query,
        } = &request.program
        else {
            return Ok(request.program.clone());
        };
        if request.depends.is_empty() {
            return Ok(request.program.clone());
        }
        let (store, depends) = (Arc::clone(&self.store), request.depends.clone());
        let read = move || Dependencies::read(&store, &depends);
        let dependencies = tokio::task::spawn_blocking(read).await??;
        let own = files.iter();
        let own = own.map(|file| (file.path.clone(), file.content.to_vec()));
        let files = dependencies.compose(entry, own.collect())?;
        Ok(Program::Subagent {
            files: source_files(files),
            entry: entry.clone(),
            query: query.clone(),
        })
    }

    /// The request that runs a saved version.
    ///
    /// # Errors
    /// [`FactoryError::Store`] when there is no such version, [`FactoryError::Trust`] when nobody who
    /// is trusted vouches for it, [`FactoryError::Limits`] when it asks for more than it may have, [`FactoryError::Composition`] when it cannot be composed with what
    /// it depends on.
    pub fn saved(
        &self,
        reference: &VersionRef,
        query: &str,
        tree: Arc<Tree>,
        limits: &LimitSources,
    ) -> Result<RunRequest, FactoryError> {
        let resolved = self.store.resolve(reference)?;
        self.trust
            .check(&self.store, &resolved.digest, resolved.name.as_ref(), None)?;
        let version = self.store.version(&resolved.digest)?;
        // Its name may be removed while it runs; its record names it all the same.
        self.store.hold_version(&resolved.digest)?;
        let limits = limits.resolve(version.content.limits.as_ref())?;
        let dependencies = Dependencies::read(&self.store, &version.content.depends)?;
        dependencies.check(resolved.name.as_ref(), &version.content)?;
        let requirements = Requirements::of(&version.content);
        Ok(RunRequest {
            program: program_of_version(&version.content, query),
            name: resolved.name,
            version: Some(resolved.digest),
            shown: reference.to_string(),
            grants: version.content.skills,
            egress: network::rules(&version.content.egress),
            requirements,
            tree,
            mounts: Vec::new(),
            limits,
            determinism: Determinism::default(),
            depends: version.content.depends,
        })
    }

    /// Checks that somebody who is trusted vouches for the saved versions that a program of the host's
    /// is to import, and for all that they depend on.
    ///
    /// # Errors
    /// [`FactoryError::Trust`], [`FactoryError::Store`].
    pub fn check_depends(
        &self,
        depends: &BTreeMap<SubagentName, Digest>,
    ) -> Result<(), FactoryError> {
        for (name, version) in depends {
            self.trust.check(&self.store, version, Some(name), None)?;
        }
        Ok(())
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.context.now()
    }
}
