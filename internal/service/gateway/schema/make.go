package schema

// Flag is a required boolean with a default.
func Flag(name, description string, by bool) *Field {
	return &Field{Name: name, Kind: Boolean, Required: true, Default: by, Description: description}
}

// StringArray is an array of strings; without defaults it is unset.
func StringArray(name, description string, by ...any) *Field {
	f := &Field{Name: name, Kind: Array, Description: description, Elements: &Field{Kind: String}}
	if by != nil {
		f.Default = by
	}
	return f
}

// Strings returns the strings of a list in a record; none for anything else.
func Strings(v any) []string {
	list, _ := v.([]any)
	out := make([]string, 0, len(list))
	for _, e := range list {
		if s, ok := e.(string); ok {
			out = append(out, s)
		}
	}
	return out
}
