//! Several processes that train one run: found as a launcher left them, or started here.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use admix_engine::{Launch, Variables};
use admix_torch::{Device, Group};
use anyhow::{Context, Result};
use clap::Args;
use rustix::process::{Pid, Signal, kill_process};

use crate::failure::{Ended, bad_input};
use crate::{output, signals};

/// Flags of a command that several processes can carry out together.
#[derive(Args, Debug)]
pub struct ProcessArgs {
    /// Train with so many processes on this machine, each on its part of every step, on a GPU of its own or on its share of
    /// the cores. Leave it out under torchrun or srun, which start them.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(2..))]
    processes: Option<u16>,
    /// After how many seconds without an answer a process counts as lost.
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..))]
    process_timeout: u64,
}

impl ProcessArgs {
    /// How many processes this one shall start.
    ///
    /// # Errors
    /// A launcher has started some already.
    pub fn to_start(&self, launch: Option<&Launch>) -> Result<Option<usize>> {
        match (self.processes, launch) {
            (Some(n), Some(launch)) => Err(bad_input(format!(
                "--processes {n}: this is process {} of {} that a launcher has started; leave the flag out",
                launch.rank, launch.processes
            ))),
            (n, _) => Ok(n.map(usize::from)),
        }
    }

    /// Joins the processes of a launch.
    ///
    /// # Errors
    /// One that does not come in time.
    pub fn join(&self, launch: &Launch, device: Device) -> Result<Rc<Group>> {
        let timeout = Duration::from_secs(self.process_timeout);
        Ok(Rc::new(Group::join(&launch.membership(device, timeout))?))
    }
}

/// The place of this process, if a launcher gave it one.
///
/// # Errors
/// Variables that contradict each other.
pub fn launch() -> Result<Option<Launch>> {
    Ok(Launch::read(&Variables::of_this_process())?)
}

/// One of the processes.
struct Member {
    child: Child,
    /// What it says on stderr, of those but process 0.
    said: Option<JoinHandle<Vec<String>>>,
    ended: Option<ExitStatus>,
}

/// Starts this program as so many processes of one run, and waits for them.
///
/// # Errors
/// One cannot be started; how process 0 ended, or the first that ended before it.
pub fn start(processes: usize) -> Result<()> {
    let stop = Arc::new(AtomicI32::new(0));
    let told = "stopping all processes after this step; a second signal ends this program alone, and they then save too";
    signals::watch(&stop, told, true)?;
    let port = free_port()?;
    let members = (0..processes).map(|rank| member(rank, processes, port));
    let mut members = members.collect::<Result<Vec<_>>>()?;
    let mut asked = false;
    while members.iter().any(|member| member.ended.is_none()) {
        thread::sleep(Duration::from_millis(20));
        for member in &mut members {
            if member.ended.is_none() {
                member.ended = member.child.try_wait()?;
            }
        }
        if stop.load(Ordering::Relaxed) != 0 && !asked {
            asked = true;
            members.iter().filter(|member| member.ended.is_none()).for_each(Member::ask_to_stop);
        }
    }
    told_by(members)
}

/// A port that is free now.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("no port is free on this machine")?;
    Ok(listener.local_addr()?.port())
}

fn member(rank: usize, processes: usize, port: u16) -> Result<Member> {
    let program = std::env::current_exe().context("the program does not know where it is")?;
    let mut command = Command::new(&program);
    let mut arguments = std::env::args_os().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.to_str() {
            Some("--processes") => drop(arguments.next()),
            Some(text) if text.starts_with("--processes=") => {}
            // What the others say is told by this process, which gives it its form.
            Some("--log-format") if rank > 0 => drop(arguments.next()),
            Some(text) if rank > 0 && text.starts_with("--log-format=") => {}
            _ => drop(command.arg(argument)),
        }
    }
    command.args(["--ends-with", &std::process::id().to_string()]);
    for (name, value) in
        [("RANK", rank), ("LOCAL_RANK", rank), ("WORLD_SIZE", processes), ("LOCAL_WORLD_SIZE", processes)]
    {
        command.env(name, value.to_string());
    }
    command.env("MASTER_ADDR", "127.0.0.1").env("MASTER_PORT", port.to_string());
    // In a group of its own: Ctrl-C shall reach this process alone, which asks each once.
    command.process_group(0).stdin(Stdio::null());
    if rank > 0 {
        command.stdout(Stdio::null()).stderr(Stdio::piped());
    }
    let mut child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
    let said = child
        .stderr
        .take()
        .map(|stderr| thread::spawn(move || BufReader::new(stderr).lines().map_while(Result::ok).collect()));
    Ok(Member { child, said, ended: None })
}

impl Member {
    fn ask_to_stop(&self) {
        if let Some(process) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // One that has just ended needs no signal.
            let _ = kill_process(process, Signal::TERM);
        }
    }
}

/// What became of the processes. Process 0 has told it itself, unless it was killed: then the next one has.
fn told_by(members: Vec<Member>) -> Result<()> {
    let all = members.len();
    let (mut killed, mut ended) = (None, None);
    let first = members.first().and_then(|member| member.ended?.code());
    for (rank, member) in members.into_iter().enumerate() {
        let said = member.said.and_then(|said| said.join().ok()).unwrap_or_default();
        let Some(status) = member.ended else { continue };
        // Process 0 told what it knows. Where its run failed, another one may know why; bad input is that of all.
        let own = |line: &&String| {
            first == Some(1) && line.starts_with("error: ") && !line.starts_with("error: process ")
        };
        said.iter().filter(own).for_each(|line| output::note(&format!("process {rank}: {line}")));
        match status.code() {
            Some(0) if ended.is_none() => ended = Some(Ok(())),
            Some(code) if ended.is_none() => {
                if killed.is_some() {
                    said.iter().for_each(|line| output::note(line));
                }
                ended = Some(Err(Ended { code: u8::try_from(code).unwrap_or(1) }.into()));
            }
            Some(_) => {}
            None => killed = killed.or(Some((rank, status.signal().unwrap_or_default()))),
        }
    }
    if let Some(ended) = ended {
        return ended;
    }
    let (rank, signal) = killed.unwrap_or_default();
    Err(anyhow::anyhow!("process {rank} of {all} was ended by signal {signal}, and so were the others"))
}
