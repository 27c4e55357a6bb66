package wasm

import (
	"bytes"
	"sync"
)

// What filters may keep on the node.
const (
	maxShared  = 8 << 20 // bytes of keys and values
	maxKeys    = 10_000
	maxMetrics = 1000
)

// sharedData is what all filters of the node share: values under keys, each with a number
// that changes when the value does.
type sharedData struct {
	mu     sync.Mutex
	values map[string]sharedValue
	size   int
}

type sharedValue struct {
	data []byte
	cas  uint32
}

func newSharedData() *sharedData { return &sharedData{values: map[string]sharedValue{}} }

func (d *sharedData) get(key string) (sharedValue, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	v, ok := d.values[key]
	return v, ok
}

func (d *sharedData) set(key string, data []byte, cas uint32) status {
	d.mu.Lock()
	defer d.mu.Unlock()
	old, there := d.values[key]
	if cas != 0 && cas != old.cas {
		return statusCASMismatch
	}
	size := d.size - len(old.data) + len(data)
	if !there {
		size += len(key)
	}
	if size > maxShared || !there && len(d.values) >= maxKeys {
		return statusInternal
	}
	next := old.cas + 1
	if next == 0 {
		next = 1
	}
	d.size, d.values[key] = size, sharedValue{bytes.Clone(data), next}
	return statusOK
}

func (c *call) sharedData() status {
	key, ok := c.bytes(0)
	if !ok {
		return statusInvalidMemory
	}
	v, ok := c.filter.engine.shared.get(string(key))
	if !ok {
		return statusNotFound
	}
	if st := c.give(2, 3, v.data); st != statusOK {
		return st
	}
	return c.putU32(4, v.cas)
}

func (c *call) setSharedData() status {
	key, ok := c.bytes(0)
	value, ok2 := c.bytes(2)
	if !ok || !ok2 {
		return statusInvalidMemory
	}
	return c.filter.engine.shared.set(string(key), value, c.u32(4))
}

// metrics are the numbers that filters count, by their ids: the order they were defined in.
type metrics struct {
	mu    sync.Mutex
	names map[string]uint32
	list  []metric
}

type metric struct {
	kind  uint32
	value uint64
}

// Kinds of metric, by Proxy-Wasm's numbers; the last is a histogram.
const (
	counterMetric = 0
	lastMetric    = 2
)

func newMetrics() *metrics { return &metrics{names: map[string]uint32{}} }

// edit changes a metric.
func (m *metrics) edit(id uint32, change func(*metric) status) status {
	m.mu.Lock()
	defer m.mu.Unlock()
	if id >= uint32(len(m.list)) {
		return statusNotFound
	}
	return change(&m.list[id])
}

// define returns the id of a metric, which is made where there is none.
func (m *metrics) define(kind uint32, name string) (uint32, status) {
	m.mu.Lock()
	defer m.mu.Unlock()
	id, there := m.names[name]
	switch {
	case there && m.list[id].kind == kind:
		return id, statusOK
	case there:
		return 0, statusBadArgument
	case len(m.list) >= maxMetrics:
		return 0, statusInternal
	}
	id = uint32(len(m.list))
	m.names[name], m.list = id, append(m.list, metric{kind: kind})
	return id, statusOK
}

func (c *call) defineMetric() status {
	name, ok := c.bytes(1)
	switch {
	case !ok:
		return statusInvalidMemory
	case c.u32(0) > lastMetric || len(name) > maxLine:
		return statusBadArgument
	}
	id, st := c.filter.engine.metrics.define(c.u32(0), string(name))
	if st != statusOK {
		return st
	}
	return c.putU32(3, id)
}

func (c *call) incrementMetric() status {
	delta := int64(c.arg[1])
	return c.filter.engine.metrics.edit(c.u32(0), func(m *metric) status {
		if m.kind == counterMetric && delta < 0 || m.kind == lastMetric {
			return statusBadArgument
		}
		m.value += uint64(delta)
		return statusOK
	})
}

func (c *call) recordMetric() status {
	value := c.arg[1]
	return c.filter.engine.metrics.edit(c.u32(0), func(m *metric) status {
		m.value = value
		return statusOK
	})
}

func (c *call) metric() status {
	var value uint64
	if st := c.filter.engine.metrics.edit(c.u32(0), func(m *metric) status { value = m.value; return statusOK }); st != statusOK {
		return st
	}
	return c.putU64(1, value)
}
