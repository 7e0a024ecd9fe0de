//! Keras models in any container: what is imported is a valid module, written as it was, and folded into a document that is
//! read again.

use crate::{Random, archive, hdf5, run, text_mutate};
use normfold_frontends::{
    FrontendError,
    keras::{KerasDocument, OpenOptions, SaveOptions},
};
use normfold_ir::Module;

fn written(document: &KerasDocument, module: &Module) -> Result<Vec<u8>, FrontendError> {
    let mut bytes = Vec::new();
    document.save_to(module, &mut bytes, SaveOptions::default())?;
    Ok(bytes)
}

/// Tries to open the bytes.
pub(crate) fn run(data: &[u8]) {
    let options = OpenOptions::default();
    let Ok((document, module)) = KerasDocument::from_bytes(data, &options) else { return };
    run::valid(&module, "the import");
    let same = written(&document, &module).unwrap_or_else(|e| panic!("nothing changed: {e}"));
    assert!(same == data, "opened and written, it is not what it was");
    for pipeline in run::PIPELINES {
        let after = run::passes(&module, pipeline);
        let bytes = match written(&document, &after) {
            Ok(bytes) => bytes,
            // An architecture without weights; weights that overflow in their own type; members that are damaged.
            Err(_) if !document.has_weights() => continue,
            Err(FrontendError::NonFinite { .. } | FrontendError::Invalid { .. }) => continue,
            // What simplifies a graph may have no words in a list of layers; folding has.
            Err(FrontendError::NotExpressible { .. }) if pipeline == "simplify" => continue,
            // Blocks of a damaged file overlap, or have no room for a change.
            Err(FrontendError::Malformed { .. } | FrontendError::Limit { .. }) => continue,
            Err(FrontendError::Unsupported { .. }) => continue,
            Err(e) => panic!("{pipeline}: cannot be written: {e}"),
        };
        match KerasDocument::from_bytes(bytes, &options) {
            Ok((_, module)) => run::valid(&module, "what was written"),
            Err(e) => panic!("{pipeline}: what was written: {e}"),
        }
    }
}

/// Changes the architecture, or the bytes of its container.
pub(crate) fn mutate(data: &mut Vec<u8>, random: &mut Random) {
    if data.starts_with(b"PK") && random.once_in(3) {
        archive::mutate(data, random);
    } else if data.starts_with(b"{") || random.once_in(2) {
        text_mutate::json(data, random);
    } else {
        hdf5::mutate(data, random);
    }
}
