//! The seeds that are made up: `UPDATE_SEEDS=1 cargo test -p normfold-fuzz --test seeds` writes them anew.

use normfold_fuzz::{Random, generate_onnx};
use std::{fs, path::Path};

#[test]
fn seeds_are_what_makes_them() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/onnx");
    let update = std::env::var_os("UPDATE_SEEDS").is_some();
    for i in 0..24 {
        let made = generate_onnx(&mut Random::new(i));
        let path = folder.join(format!("made-{i:02}"));
        if update {
            fs::create_dir_all(&folder).expect("the folder");
            fs::write(&path, &made).expect("a seed");
        }
        let kept = fs::read(&path).unwrap_or_default();
        assert!(kept == made, "{}: UPDATE_SEEDS=1 writes it anew", path.display());
    }
}
