package aiproxy

import (
	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// URL is where a request to a model goes that is configured by c.
func URL(c schema.Record, name, client string, stream bool) (string, error) {
	m, err := newModel(c, clock.System{})
	if err != nil {
		return "", err
	}
	u, err := m.address.of(&talk{model: name, stream: stream}, client)
	if err != nil {
		return "", err
	}
	return u.String(), nil
}

// NewSource and Next are the parsers of streams.
var NewSource = newSource

// Next returns the name and the data of the next event.
func Next(s source) (string, string, error) {
	e, err := s.next()
	return e.name, string(e.data), err
}
