//! The fuzz corpora, replayed without a fuzzer.

use std::{fs, path::Path};

#[test]
fn every_file_of_every_corpus_passes_its_target() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    for (name, body) in tests::fuzz::TARGETS {
        let folder = corpora.join(name);
        let files: Vec<_> =
            fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(!files.is_empty(), "{} is empty", folder.display());
        for file in files {
            println!("{}", file.display());
            body(&fs::read(&file).unwrap());
        }
    }
}
