package batch

import (
	"time"

	"sluice.dev/sluice/internal/service/gateway/plugin/fields"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// Config bounds a queue. The zero value of a member but of MaxBytes, MaxRetryTime and
// MaxCoalescingDelay means Kong's default.
type Config struct {
	MaxBatchSize       int           // entries in a batch, 1
	MaxCoalescingDelay time.Duration // how long a batch waits to fill
	MaxEntries         int           // that may wait, 10000
	MaxBytes           int           // that may wait; 0: not bounded by bytes
	MaxRetryTime       time.Duration // after which a failing batch is given up
	InitialRetryDelay  time.Duration // 10 ms, doubled from retry to retry
	MaxRetryDelay      time.Duration // 60 s
	// Unlimited sends each entry by itself without waiting for those before it, at most
	// maxWorkers at a time.
	Unlimited bool
}

// Field describes "queue", for kinds whose batches have the given size by default.
func Field(batchSize int) *schema.Field {
	of := func(kind schema.Kind, name, description string, def any, between ...float64) *schema.Field {
		return &schema.Field{Name: name, Kind: kind, Description: description, Default: def, Between: between}
	}
	queue := &schema.Field{Name: "queue", Kind: schema.Nested, Required: true, Fields: []*schema.Field{
		of(schema.Integer, "max_batch_size", "Maximum number of entries that can be processed at a time.", 1, 1, 1000000),
		of(schema.Number, "max_coalescing_delay", "Maximum number of seconds a batch waits to fill.", 1, 0, 3600),
		of(schema.Integer, "max_entries", "Maximum number of entries that can be waiting on the queue.", 10000, 1, 1000000),
		of(schema.Integer, "max_bytes", "Maximum number of bytes that can be waiting on the queue.", nil),
		of(schema.Number, "max_retry_time", "Seconds before the queue gives up a failing batch.", 60),
		of(schema.Number, "initial_retry_delay", "Seconds before a failing batch is tried again for the first time.", 0.01, 0.001, 1000000),
		of(schema.Number, "max_retry_delay", "Maximum number of seconds between retries.", 60, 0.001, 1000000),
		{Name: "concurrency_limit", Kind: schema.Integer, Default: 1, OneOf: []any{-1.0, 1.0},
			Description: "The number of batches under way at once; -1 removes the limit."},
	}}
	if batchSize != 1 {
		queue.Default = schema.Record{"max_batch_size": batchSize}
	}
	return queue
}

// Legacy describes the fields that "queue" replaced in the older log plugins. kind is the kind
// of plugin.
func Legacy(kind string) []*schema.Field {
	return []*schema.Field{
		{Name: "retry_count", Kind: schema.Integer, Deprecated: kind + ": config.retry_count no longer works, please use config.queue.max_retry_time instead"},
		{Name: "queue_size", Kind: schema.Integer, Deprecated: kind + ": config.queue_size is deprecated, please use config.queue.max_batch_size instead"},
		{Name: "flush_timeout", Kind: schema.Number, Deprecated: kind + ": config.flush_timeout is deprecated, please use config.queue.max_coalescing_delay instead"},
	}
}

// Of reads a plugin's configuration. The older names count where they are set to anything
// but what was their default.
func Of(config schema.Record) Config {
	q, _ := config["queue"].(schema.Record)
	c := Config{
		MaxBatchSize: fields.Int(q, "max_batch_size"), MaxEntries: fields.Int(q, "max_entries"), MaxBytes: fields.Int(q, "max_bytes"),
		MaxCoalescingDelay: fields.Seconds(q, "max_coalescing_delay"), MaxRetryTime: fields.Seconds(q, "max_retry_time"),
		InitialRetryDelay: fields.Seconds(q, "initial_retry_delay"), MaxRetryDelay: fields.Seconds(q, "max_retry_delay"),
		Unlimited: fields.Int(q, "concurrency_limit") == -1,
	}
	for _, size := range []struct {
		name string
		was  int
	}{{"queue_size", 1}, {"batch_span_count", 200}} {
		if n := fields.Int(config, size.name); n > 0 && n != size.was {
			c.MaxBatchSize = n
		}
	}
	for _, delay := range []struct {
		name string
		was  time.Duration
	}{{"flush_timeout", 2 * time.Second}, {"batch_flush_delay", 3 * time.Second}} {
		if d := fields.Seconds(config, delay.name); config[delay.name] != nil && d >= 0 && d != delay.was {
			c.MaxCoalescingDelay = d
		}
	}
	return c
}

func (c Config) withDefaults() Config {
	def := func(p *int, v int) {
		if *p <= 0 {
			*p = v
		}
	}
	def(&c.MaxBatchSize, 1)
	def(&c.MaxEntries, 10000)
	if c.InitialRetryDelay <= 0 {
		c.InitialRetryDelay = 10 * time.Millisecond
	}
	if c.MaxRetryDelay <= 0 {
		c.MaxRetryDelay = time.Minute
	}
	return c
}
