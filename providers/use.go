package providers

// Use is something that manifests ask of a store: a value, or, with Find set,
// a search and the values of all that it finds. Backends write from it the
// least rights that are needed.
type Use struct {
	Ref  Ref
	Find *Query
}
