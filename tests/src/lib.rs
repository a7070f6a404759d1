//! The package of the suites that need more than one crate, or none: each stands in a folder of its own beside this one
//! (`tidy/`, …) and is named in the manifest. Nothing of the product lives here.
