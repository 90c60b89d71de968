"""Golden values: what each rule's results were when its revision was recorded."""
