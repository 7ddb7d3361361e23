//! Each target over its corpus, without the fuzzer.

use std::{fs, path::Path};

#[test]
fn every_input_of_the_corpus_holds() {
    for (target, check) in penpal_fuzz::TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
        let mut inputs = 0;
        for entry in fs::read_dir(&folder).expect("a corpus") {
            let path = entry.expect("a file").path();
            println!("{}", path.display());
            check(&fs::read(&path).expect("an input"));
            inputs += 1;
        }
        assert!(inputs > 0, "{target} has no corpus");
    }
}
