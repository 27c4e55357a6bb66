package component

import (
	"context"

	"sluice.dev/sluice/internal/agent/engine"
	"sluice.dev/sluice/internal/api/aws/awswire"
	"sluice.dev/sluice/internal/api/aws/s3"
)

func putS3Object() engine.Definition {
	return engine.Definition{
		Type: "org.apache.nifi.processors.aws.s3.PutS3Object", Description: "Writes the content of flow files to objects in S3", Input: engine.InputRequired,
		Properties: awsProperties(
			engine.Property{Name: "Bucket", Required: true, Expression: true},
			engine.Property{Name: "Object Key", Default: "${filename}", Required: true, Expression: true},
			engine.Property{Name: "Content Type", Default: "${mime.type}", Expression: true},
		),
		Relationships: []engine.Relationship{success, failure},
		New: func(s *engine.Settings) (engine.Processor, error) {
			return &s3Putter{set: s, client: s3.Client{Client: awsClient(s, "s3")}}, nil
		},
	}
}

type s3Putter struct {
	set    *engine.Settings
	client s3.Client
}

func (p *s3Putter) Trigger(ctx context.Context, s *engine.Session) error {
	f, err := s.Get()
	if f == nil {
		return err
	}
	if err := p.put(ctx, s, f); err != nil {
		f.Attributes["s3.exception"] = err.Error()
		fail(p.set, s, f, err)
		return nil
	}
	s.Transfer(f, success.Name)
	return nil
}

func (p *s3Putter) put(ctx context.Context, s *engine.Session, f *engine.FlowFile) error {
	values := map[string]string{}
	for _, name := range []string{"Bucket", "Object Key", "Content Type"} {
		v, err := p.set.Eval(name, f)
		if err != nil {
			return err
		}
		values[name] = v
	}
	bucket, key, size := values["Bucket"], values["Object Key"], f.Size()
	in := &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: awswire.NewBody(s.Read(f), size), ContentLength: &size}
	if t := values["Content Type"]; t != "" {
		in.ContentType = &t
	}
	out, err := p.client.PutObject(ctx, in)
	if err != nil {
		return err
	}
	f.Attributes["s3.bucket"], f.Attributes["s3.key"] = bucket, key
	set(f, "s3.etag", out.ETag)
	return nil
}
