//! Groups whose members are threads of this process, and one whose member is a process that is killed.

use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use tch::{Device, Kind, Tensor};

use super::*;

/// Enough for a slow machine where nobody is missing.
const PATIENT: Duration = Duration::from_secs(60);
/// Where others have to notice together that one is missing.
const IMPATIENT: Duration = Duration::from_secs(8);
/// Where one notices alone.
const BRIEF: Duration = Duration::from_secs(1);

/// Below the ports that the system hands out: a connection of another test may take one of those in between.
fn free_port() -> u16 {
    static TRIED: AtomicU32 = AtomicU32::new(0);
    let start = std::process::id().wrapping_mul(97);
    let next = || 10_000 + (start.wrapping_add(TRIED.fetch_add(1, Ordering::Relaxed)) % 20_000) as u16;
    std::iter::repeat_with(next).find(|port| TcpListener::bind(("::", *port)).is_ok()).expect("a port")
}

fn member(rank: usize, processes: usize, port: u16, timeout: Duration) -> Membership {
    Membership {
        rank,
        processes,
        host: "127.0.0.1".into(),
        port,
        launcher_store: false,
        attempt: 0,
        timeout,
        device: Device::Cpu,
    }
}

/// What `body` gives in each of `n` members of a group, in their order.
fn in_group<R: Send>(n: usize, timeout: Duration, body: impl Fn(Group) -> R + Sync) -> Vec<R> {
    let port = free_port();
    thread::scope(|scope| {
        let run = |rank| body(Group::join(&member(rank, n, port, timeout)).expect("joins"));
        let members: Vec<_> = (0..n).map(|rank| scope.spawn(move || run(rank))).collect();
        members.into_iter().map(|member| member.join().expect("no panic")).collect()
    })
}

/// Values that differ between processes.
fn own(rank: usize, shape: &[i64], kind: Kind) -> Tensor {
    let n: i64 = shape.iter().product();
    (Tensor::arange(n, (Kind::Int64, Device::Cpu)) + (rank as i64 + 1) * 10).reshape(shape).to_kind(kind)
}

fn error(outcome: Result<()>) -> String {
    outcome.expect_err("an error").to_string()
}

#[test]
fn sums_are_those_of_all_members_in_place_for_every_dtype_and_layout() {
    for n in [2, 3] {
        let sums = in_group(n, PATIENT, |group| {
            let rank = group.rank();
            let columns = own(rank, &[4, 3], Kind::Float).transpose(0, 1);
            let tensors = vec![
                own(rank, &[5], Kind::Float),
                own(rank, &[2, 2], Kind::Double),
                own(rank, &[], Kind::Float),
                columns,
                own(rank, &[3], Kind::Int64),
                own(rank, &[3], Kind::BFloat16),
                own(rank, &[0, 2], Kind::Float),
            ];
            group.all_reduce(&tensors).expect("adds up");
            group.all_reduce(&[]).expect("adds nothing up");
            group.leave().expect("leaves");
            tensors
        });
        let total = |shape: &[i64], kind| {
            (0..n).map(|rank| own(rank, shape, kind)).reduce(|sum, tensor| sum + tensor).expect("members")
        };
        for tensors in sums {
            assert_eq!(tensors[0], total(&[5], Kind::Float));
            assert_eq!(tensors[1], total(&[2, 2], Kind::Double));
            assert_eq!(tensors[2], total(&[], Kind::Float));
            assert_eq!(tensors[3], total(&[4, 3], Kind::Float).transpose(0, 1));
            assert_eq!(tensors[4], total(&[3], Kind::Int64));
            assert_eq!(tensors[5], total(&[3], Kind::BFloat16));
            assert_eq!(tensors[6].size(), [0, 2]);
        }
    }
}

#[test]
fn sums_of_rounded_values_are_the_same_bits_in_all_members() {
    let sums = in_group(3, PATIENT, |group| {
        let tensor = own(group.rank(), &[1000], Kind::Float).sin() / 3.0;
        let leaf = tensor.set_requires_grad(true);
        group.all_reduce(std::slice::from_ref(&leaf)).expect("adds up");
        group.leave().expect("leaves");
        leaf.detach()
    });
    assert!(sums[0].equal(&sums[1]) && sums[0].equal(&sums[2]));
    assert!(sums[0].abs().sum(Kind::Float).double_value(&[]) > 1.0);
}

#[test]
fn gathered_rows_are_in_the_order_of_members() {
    let all = in_group(3, PATIENT, |group| {
        let rows = group.all_gather(&own(group.rank(), &[2, 3], Kind::Float)).expect("gathers");
        let labels = group.all_gather(&own(group.rank(), &[2], Kind::Int64)).expect("gathers");
        // A view whose values do not lie one after the other.
        let columns =
            group.all_gather(&own(group.rank(), &[3, 2], Kind::Float).transpose(0, 1)).expect("gathers");
        group.leave().expect("leaves");
        (rows, labels, columns)
    });
    let cat = |part: &dyn Fn(usize) -> Tensor| Tensor::cat(&(0..3).map(part).collect::<Vec<_>>(), 0);
    for (rows, labels, columns) in all {
        assert_eq!(rows, cat(&|rank| own(rank, &[2, 3], Kind::Float)));
        assert_eq!(labels, cat(&|rank| own(rank, &[2], Kind::Int64)));
        assert_eq!(columns, cat(&|rank| own(rank, &[3, 2], Kind::Float).transpose(0, 1)));
    }
}

#[test]
fn a_broadcast_gives_all_members_the_values_of_its_root() {
    for (rank, tensors) in in_group(3, PATIENT, |group| {
        let rank = group.rank();
        let tensors = vec![own(rank, &[2, 3], Kind::Float), own(rank, &[4], Kind::Int64)];
        group.broadcast(&tensors, 1).expect("broadcasts");
        group.leave().expect("leaves");
        (rank, tensors)
    }) {
        assert_eq!(tensors[0], own(1, &[2, 3], Kind::Float), "member {rank}");
        assert_eq!(tensors[1], own(1, &[4], Kind::Int64), "member {rank}");
    }
}

#[test]
fn members_agree_on_the_largest_value_and_know_each_others_texts() {
    for (largest, texts, empty) in in_group(3, PATIENT, |group| {
        let rank = group.rank();
        let largest = group.agree_max([-5, -2, -9][rank]).expect("agrees");
        let texts = group.gather_text(["", "weights abc", "größer"][rank]).expect("gathers");
        let empty = group.gather_text("").expect("gathers");
        group.leave().expect("leaves");
        (largest, texts, empty)
    }) {
        assert_eq!(largest, -2);
        assert_eq!(texts, ["", "weights abc", "größer"]);
        assert_eq!(empty, ["", "", ""]);
    }
}

#[test]
fn no_member_passes_a_barrier_before_all_have_reached_it() {
    let reached = AtomicUsize::new(0);
    let seen = in_group(3, PATIENT, |group| {
        thread::sleep(Duration::from_millis(100 * group.rank() as u64));
        reached.fetch_add(1, Ordering::SeqCst);
        group.barrier().expect("passes");
        let seen = reached.load(Ordering::SeqCst);
        group.leave().expect("leaves");
        seen
    });
    assert_eq!(seen, [3, 3, 3]);
}

#[test]
fn a_group_of_one_works() {
    let sums = in_group(1, PATIENT, |group| {
        let tensor = own(0, &[3], Kind::Float);
        group.all_reduce(std::slice::from_ref(&tensor)).expect("adds up");
        group.leave().expect("leaves");
        tensor
    });
    assert_eq!(sums[0], own(0, &[3], Kind::Float));
}

#[test]
fn a_value_that_the_backend_does_not_take_is_refused_and_the_group_goes_on() {
    in_group(2, PATIENT, |group| {
        let flags = own(0, &[2], Kind::Bool);
        let text = error(group.all_reduce(&[flags]));
        assert_eq!(text, "all_reduce: a tensor is of Bool, expected numbers of another dtype");
        let text = error(group.all_gather(&own(0, &[], Kind::Float)).map(drop));
        assert_eq!(text, "all_gather: a tensor without dimensions, expected [N, ..]");
        let text = error(group.broadcast(&[], 2));
        assert_eq!(text, "broadcast: there is no process 2 of 2");
        group.leave().expect("leaves");
    });
}

#[test]
fn a_member_that_never_comes_is_named_by_all_others() {
    let port = free_port();
    let join = |rank| error(Group::join(&member(rank, 4, port, IMPATIENT)).map(drop));
    thread::scope(|scope| {
        let others: Vec<_> = [0, 2].map(|rank| scope.spawn(move || join(rank))).into_iter().collect();
        for other in others {
            assert_eq!(
                other.join().expect("no panic"),
                "processes 1 and 3 of 4 did not arrive at the start within 8 s; its own output may say why"
            );
        }
    });
}

#[test]
fn a_first_member_that_never_comes_is_named_with_the_address() {
    let port = free_port();
    let text = error(Group::join(&member(1, 2, port, BRIEF)).map(drop));
    assert_eq!(
        text,
        format!(
            "process 0 of 2 did not arrive at the start (nobody answers at 127.0.0.1:{port}) within 1 s; its own output \
             may say why"
        )
    );
}

#[test]
fn members_that_do_not_fit_together_are_refused() {
    let taken = TcpListener::bind("[::]:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let text = error(Group::join(&member(0, 2, port, BRIEF)).map(drop));
    assert!(text.starts_with(&format!("process 0 of 2 cannot listen at port {port}: ")), "{text}");
    assert!(text.ends_with("take a free port (MASTER_PORT)") && !text.contains('\n'), "{text}");

    let port = free_port();
    let join = |rank, processes| error(Group::join(&member(rank, processes, port, PATIENT)).map(drop));
    thread::scope(|scope| {
        let first = scope.spawn(move || join(0, 2));
        let second = scope.spawn(move || join(1, 3));
        assert_eq!(
            first.join().expect("no panic"),
            "process 1 was started as one of 3, this one as one of 2: all need the same WORLD_SIZE"
        );
        assert!(second.join().expect("no panic").contains("of 3"));
    });

    let nowhere = Membership { host: "no host".into(), ..member(1, 2, port, BRIEF) };
    let text = error(Group::join(&nowhere).map(drop));
    assert!(text.starts_with("cannot find the way to `no host`, where the processes meet: "), "{text}");
    assert!(text.ends_with("; see MASTER_ADDR") && !text.contains('\n'), "{text}");

    let text = error(Group::join(&member(2, 2, port, BRIEF)).map(drop));
    assert_eq!(text, "process 2 of 2 cannot join: processes are counted from 0");
    let text = std::thread::scope(|scope| {
        let join = |rank| {
            let cuda = Membership { device: Device::Cuda(0), ..member(rank, 2, port, PATIENT) };
            move || Group::join(&cuda).map(drop)
        };
        let other = scope.spawn(join(1));
        let text = error(join(0)());
        let _ = other.join();
        text
    });
    assert!(text.contains("NCCL") && !text.contains('\n'), "{text}");
}

#[test]
fn a_launchers_store_serves_one_start_after_another() {
    let port = free_port();
    let joined = |rank, attempt, timeout| {
        Group::join(&Membership { launcher_store: true, attempt, ..member(rank, 2, port, timeout) })
    };
    let text = error(joined(0, 0, BRIEF).map(drop));
    assert!(
        text.starts_with(&format!("nobody answers at 127.0.0.1:{port}, where the processes meet: ")),
        "{text}"
    );

    // A store of c10d as any other: that of a group of one.
    let launcher = Group::join(&member(0, 1, port, PATIENT)).expect("opens a store");
    for attempt in [1, 2] {
        thread::scope(|scope| {
            let first =
                scope.spawn(move || joined(0, attempt, PATIENT).and_then(|group| group.gather_text("first")));
            let second =
                joined(1, attempt, PATIENT).and_then(|group| group.gather_text("second")).expect("gathers");
            assert_eq!(second, ["first", "second"]);
            assert_eq!(first.join().expect("no panic").expect("gathers"), second);
        });
    }
    launcher.leave().expect("leaves");
}

#[test]
fn a_number_is_joined_once() {
    let port = free_port();
    // Nobody leaves before all have tried.
    let all_tried = std::sync::Barrier::new(3);
    let join = |rank| {
        let group = Group::join(&member(rank, 2, port, PATIENT));
        all_tried.wait();
        group.and_then(Group::leave)
    };
    let join = &join;
    thread::scope(|scope| {
        let members = [0, 1, 1].map(|rank| scope.spawn(move || join(rank)));
        let joined = members.map(|member| member.join().expect("no panic"));
        assert!(joined[0].is_ok());
        let refused: Vec<String> =
            joined.into_iter().filter_map(|outcome| outcome.err().map(|error| error.to_string())).collect();
        assert_eq!(refused, ["another process has joined as process 1 of 2: each needs a RANK of its own"]);
    });
}

#[test]
fn a_member_that_is_late_is_named_by_the_others_and_learns_of_it() {
    let others_gave_up = std::sync::Barrier::new(3);
    let texts = in_group(3, IMPATIENT, |group| {
        group.barrier().expect("passes");
        if group.rank() == 1 {
            others_gave_up.wait();
        }
        let text = error(group.all_reduce(&[own(group.rank(), &[5], Kind::Float)]));
        if group.rank() != 1 {
            others_gave_up.wait();
        }
        let again = error(group.barrier());
        assert_eq!(again, format!("the group of processes has ended: {text}"));
        text
    });
    for rank in [0, 2] {
        assert_eq!(
            texts[rank],
            "process 1 of 3 did not arrive at all_reduce (call 2 of the group) within 8 s; its own output may say why"
        );
    }
    assert!(texts[1].contains("of 3 ended or cannot be reached"), "{}", texts[1]);
}

#[test]
fn a_member_that_ends_is_named_by_the_others_at_once_whichever_it_is() {
    for ending in [0, 1, 2] {
        let texts = in_group(3, PATIENT, |group| {
            group.barrier().expect("passes");
            if group.rank() == ending {
                return String::new();
            }
            let own = own(group.rank(), &[100_000], Kind::Float);
            (0..).find_map(|_| group.all_reduce(std::slice::from_ref(&own)).err()).expect("fails").to_string()
        });
        for (rank, text) in texts.iter().enumerate().filter(|(rank, _)| *rank != ending) {
            let named =
                format!("process {ending} of 3 ended or cannot be reached (noticed at all_reduce (call ");
            assert!(text.starts_with(&named) && !text.contains('\n'), "member {rank}: {text}");
        }
    }
}

#[test]
fn a_member_that_stops_tells_the_others_why() {
    for stopping in [0, 1] {
        let texts = in_group(3, PATIENT, |group| {
            group.barrier().expect("passes");
            if group.rank() == stopping {
                group.stop("the disk is full");
                return error(group.barrier());
            }
            error(group.barrier())
        });
        for (rank, text) in texts.iter().enumerate() {
            let expected = match rank == stopping {
                true => "the group of processes has ended: the disk is full".to_string(),
                false => format!("process {stopping} of 3 stopped: the disk is full"),
            };
            assert_eq!(*text, expected, "member {rank}");
        }
    }
}

#[test]
fn a_killed_process_is_named_by_the_others() {
    const PORT: &str = "ADMIX_TEST_GROUP_PORT";
    let forever = |group: &Group| (0..).find_map(|_| group.barrier().err()).expect("an error").to_string();
    if let Ok(port) = std::env::var(PORT) {
        let group = Group::join(&member(1, 2, port.parse().expect("a port"), PATIENT)).expect("joins");
        forever(&group);
        return;
    }
    let port = free_port();
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "group::tests::a_killed_process_is_named_by_the_others"])
        .env(PORT, port.to_string())
        .stdout(Stdio::null())
        .spawn()
        .expect("starts");
    let group = Group::join(&member(0, 2, port, PATIENT)).expect("joins");
    group.barrier().expect("passes");
    child.kill().expect("is killed");
    child.wait().expect("ends");
    let text = forever(&group);
    assert!(
        text.starts_with("process 1 of 2 ended or cannot be reached (noticed at barrier (call "),
        "{text}"
    );
}
