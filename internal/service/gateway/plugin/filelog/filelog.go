package filelog

import (
	"context"
	"regexp"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/fields"
	"sluice.dev/sluice/internal/service/gateway/plugin/record"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// Deps is what the kind needs from others.
type Deps struct {
	CompileLua record.Compile // nil: custom fields are refused
}

var pathForm = regexp.MustCompile("^[^*&%`\\\\\\x00]+$")

// New returns the kind.
func New(d Deps) gateway.Plugin {
	open := newFiles()
	return gateway.Plugin{
		Name: "file-log", Version: gateway.Version, Priority: 9, Streams: true,
		Config: &schema.Field{Fields: []*schema.Field{
			{Name: "path", Kind: schema.String, Required: true, Description: "The file; it is created where there is none.",
				Check: func(v any) string {
					if !pathForm.MatchString(v.(string)) {
						return "not a valid filename"
					}
					return ""
				}},
			{Name: "reopen", Kind: schema.Boolean, Required: true, Default: false,
				Description: "Open the file anew for every write, so that rotation is seen at once."},
			record.CustomFields(d.CompileLua),
		}},
		New: func(config schema.Record, env gateway.Env) (any, error) {
			s, err := record.NewSerializer(config, d.CompileLua, env.Log)
			if err != nil {
				return nil, err
			}
			return &instance{s, open.get(fields.String(config, "path"), fields.Bool(config, "reopen"), env)}, nil
		},
	}
}

type instance struct {
	records *record.Serializer
	file    *file
}

// Log implements gateway.Logger.
func (in *instance) Log(x *gateway.Exchange) { in.records.With(x, in.file.add) }

// Close implements gateway.Closer.
func (in *instance) Close(ctx context.Context) error { return in.file.release(ctx) }
