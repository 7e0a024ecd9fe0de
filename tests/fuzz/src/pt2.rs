//! PyTorch programs: what opens is a valid module, is written as it was, and after a pipeline into a program that opens again
//! and has nothing else to do.

use crate::{Random, archive, run, text_mutate};
use normfold_frontends::{
    FrontendError,
    archive::{Archive, Patch},
    bytes::Source,
    pt2::{OpenOptions, Pt2Document, SaveOptions},
    save::{Content, WriteOptions},
};
use normfold_ir::Module;
use std::sync::Arc;

fn written(document: &Pt2Document, module: &Module) -> Result<Vec<u8>, FrontendError> {
    let mut bytes = Vec::new();
    document.save_to(module, &mut bytes, SaveOptions::default())?;
    Ok(bytes)
}

/// Tries to open the bytes.
pub(crate) fn run(data: &[u8]) {
    let options = OpenOptions::default();
    let Ok((document, module)) = Pt2Document::from_bytes(data, &options) else { return };
    run::valid(&module, "the import");
    let same = written(&document, &module).unwrap_or_else(|e| panic!("nothing changed: {e}"));
    assert!(same == data, "opened and written, it is not what it was");
    for pipeline in run::PIPELINES {
        let after = run::passes(&module, pipeline);
        let bytes = match written(&document, &after) {
            Ok(bytes) => bytes,
            // Weights that overflow in their own type; members that are damaged.
            Err(FrontendError::NonFinite { .. } | FrontendError::Invalid { .. }) => continue,
            Err(FrontendError::Malformed { .. } | FrontendError::Limit { .. }) => continue,
            Err(FrontendError::Unsupported { .. }) => continue,
            // Of a program that contradicts itself, or lacks what describes a value, not everything can be said.
            Err(FrontendError::NotExpressible { .. }) => continue,
            Err(e) => panic!("{pipeline}: cannot be written: {e}"),
        };
        let (again, module) = Pt2Document::from_bytes(&*bytes, &options)
            .unwrap_or_else(|e| panic!("{pipeline}: what was written: {e}"));
        run::valid(&module, "what was written");
        let same = written(&again, &module).unwrap_or_else(|e| panic!("nothing changed: {e}"));
        assert!(same == bytes, "{pipeline}: what was written is not written as it was");
    }
}

/// Changes the program, a list of payloads or another member, or the bytes of the archive.
pub(crate) fn mutate(data: &mut Vec<u8>, random: &mut Random) {
    match (!random.once_in(6)).then(|| member(data, random)).flatten() {
        Some(changed) => *data = changed,
        None => archive::mutate(data, random),
    }
}

/// The archive with another member in the place of one.
fn member(data: &[u8], random: &mut Random) -> Option<Vec<u8>> {
    let source = Source::Memory(Arc::from(data));
    let archive = Archive::open(&source).ok()?;
    let members = archive.members();
    let jsons: Vec<usize> =
        (0..members.len()).filter(|&i| members[i].name().ends_with(".json")).collect();
    let any = random.below(members.len());
    let index = if random.once_in(20) { any } else { *random.of(&jsons)? };
    let mut text = archive.read(members.get(index)?, 1 << 20).ok()?;
    text_mutate::program(&mut text, random);
    let mut content = Content::new();
    content.bytes(&text);
    let mut patch = Patch::new(&archive, 0);
    patch.replace(index, content);
    let mut out = Vec::new();
    patch.finish().ok()?.write_to(&[source], &mut out, WriteOptions::default()).ok()?;
    Some(out)
}
