"""Publishing an atlas: on the Hugging Face Hub, in scvi-hub's format, and on Zenodo."""
