//! Replays the inputs that fuzzing has found, through the same checks, on a stable toolchain.

use crate::checks;
use std::fs;
use std::path::Path;

#[test]
fn every_committed_input_passes_its_check() {
    for (name, check) in checks::ALL {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
        let mut inputs: Vec<_> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
        inputs.sort();
        assert!(!inputs.is_empty(), "no corpus for {name}");
        for input in inputs {
            check(&fs::read(&input).unwrap());
        }
    }
}

#[test]
fn every_corpus_has_a_check() {
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(checks::ALL.iter().any(|(check, _)| *check == name), "nothing replays fuzz/corpus/{name}");
    }
}
