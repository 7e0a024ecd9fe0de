//! normfold.
