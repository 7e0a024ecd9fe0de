//! ONNX bytes: opened, verified, printed, run through pipelines, written, and what was written opened again.

use crate::run;
use normfold_frontends::{
    FrontendError,
    onnx::{OnnxDocument, OpenOptions, SaveOptions},
};
use normfold_ir::{Module, text::Weights};

/// The document, written back with the module's changes.
pub(crate) fn written(document: &OnnxDocument, module: &Module) -> Result<Vec<u8>, FrontendError> {
    let mut bytes = Vec::new();
    document.save_to(module, &mut bytes, SaveOptions::default())?;
    Ok(bytes)
}

pub(crate) fn run(data: &[u8]) {
    let options = OpenOptions::default();
    let Ok((document, module)) = OnnxDocument::from_bytes(data, &options) else { return };
    run::valid(&module, "the import");
    run::round_trip(&module, Weights::Hash);
    let same = written(&document, &module).unwrap_or_else(|e| panic!("nothing changed: {e}"));
    // Nodes that stand before what they read are put in order.
    let sorted = |mut bytes: Vec<u8>| {
        bytes.sort_unstable();
        bytes
    };
    let reordered = same != data && sorted(same.clone()) == sorted(data.to_vec());
    assert!(same == data || reordered, "opened and written, it is not what it was");

    for pipeline in run::PIPELINES {
        let after = run::passes(&module, pipeline);
        run::round_trip(&after, Weights::Hash);
        let bytes = match written(&document, &after) {
            Ok(bytes) => bytes,
            // Weights that overflow in their own element type are found while they are written.
            Err(FrontendError::NonFinite { .. }) => continue,
            Err(e) => panic!("{pipeline}: cannot be written: {e}"),
        };
        let reopened = OnnxDocument::from_bytes(bytes, &options);
        let (again, module) =
            reopened.unwrap_or_else(|e| panic!("{pipeline}: what was written: {e}"));
        run::valid(&module, "what was written");
        let twice = written(&again, &module).unwrap_or_else(|e| panic!("{pipeline}: {e}"));
        assert_eq!(twice.len() as u64, again.len(), "{pipeline}: written again, it differs");
    }
}
