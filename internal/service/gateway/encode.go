package gateway

import (
	"bytes"
	"encoding/json"
)

// EncodeJSON encodes a value for clients and upstreams. Unlike json.Marshal it leaves <, >
// and & as they are, which nothing outside of a web page's source needs escaped.
func EncodeJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
