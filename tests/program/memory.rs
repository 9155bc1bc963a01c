//! Networks and batches that do not fit into memory.

use super::{Place, TINY, finish};

#[test]
fn a_network_that_no_memory_holds_is_refused_in_one_line_with_its_parameter() {
    let place = Place::new();
    place.write("r.ron", TINY);
    let wide = "model=ConvNet(widths: [8, 3000000, 3000000], strides: [2, 2, 2])";
    let parts =
        ["parameter", "[3000000, 3000000, 3, 3]", "needs more memory than there is", "a smaller network"];
    place.compute(&["run", "r.ron", "--out", "run", "--set", wide]).refused(1, &parts);
    let endless = wide.replace("3000000", "4000000000");
    let parts = ["parameter", "needs more memory than there is"];
    place.compute(&["run", "r.ron", "--out", "run", "--set", &endless]).refused(1, &parts);
}

#[test]
fn memory_that_ends_within_a_limit_is_told_in_one_line_with_a_remedy() {
    let place = Place::new();
    place.write("r.ron", TINY);
    let wide = "model=ConvNet(widths: [8, 3000, 3000], strides: [2, 2, 2])";
    let flags = ["run", "r.ron", "--out", "run", "--set", wide, "--device", "cpu", "--threads", "1"];
    for kilobytes in [900_000, 1_200_000, 1_500_000] {
        let limit = format!("ulimit -v {kilobytes}; exec \"$@\"");
        let command = place.command_through(&["sh", "-c", &limit, "sh"], &flags).spawn();
        let outcome = finish(command.expect("the program starts"));
        assert!(matches!(outcome.code, Some(1 | 2)), "{:?} {}", outcome.code, outcome.stderr);
        let [told] = outcome.stderr.lines().collect::<Vec<_>>()[..] else { panic!("{}", outcome.stderr) };
        assert!(told.starts_with("error: ") && told.contains("memory") && told.len() < 400, "{told}");
        assert!(!told.contains("frame #") && !told.contains("enforce fail"), "{told}");
    }
}

#[test]
fn memory_that_ends_under_the_program_itself_ends_it_with_one_exit_code_and_a_remedy() {
    let place = Place::new();
    // Pixels that are made on the host, before libtorch has them.
    let large = TINY
        .replace("train: 64, test: 32, classes: 4, size: 16", "train: 80000, test: 32, classes: 4, size: 64");
    place.write("r.ron", &large);
    let flags = ["run", "r.ron", "--out", "run", "--device", "cpu", "--threads", "1"];
    let limited = ["sh", "-c", "ulimit -v 800000; exec \"$@\"", "sh"];
    let outcome = finish(place.command_through(&limited, &flags).spawn().expect("the program starts"));
    assert_eq!((outcome.code, outcome.signal), (Some(1), None), "{}", outcome.stderr);
    let told = outcome.stderr.lines().last().unwrap_or_default();
    assert!(told.starts_with("error: the memory is used up, ") && told.contains("running r.ron"), "{told}");
    assert!(told.contains("lower `batch`") && told.contains("ulimit -v"), "{told}");
}
