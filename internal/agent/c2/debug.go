package c2

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// maxDebug is how much of each log goes into a bundle: its end.
const maxDebug = 8 << 20

const hidden = "********"

// transfer sends what helps to find a fault: logs, the flow and the settings, without secrets.
func (c *Client) transfer(ctx context.Context, o *operation) state {
	bundle, err := c.bundle()
	if err != nil {
		return stateOf(notApplied, "%v", err)
	}
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	part, err := form.CreateFormFile("file", "debug.tar.gz")
	if err != nil {
		return stateOf(notApplied, "%v", err)
	}
	_, _ = part.Write(bundle) // to memory
	_ = form.Close()
	err = c.net.each(ctx, func(ctx context.Context, base string) error {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
		defer cancel()
		to, err := resolve(base, o.arg("relativeTarget"), o.arg("target"))
		if err != nil {
			return err
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body.Bytes()))
		if err != nil {
			return Garbage.Wrap(err, "the operation has no usable URL")
		}
		req.Header.Set("Content-Type", form.FormDataContentType())
		_, err = c.net.read(req)
		return err
	})
	return applied(err)
}

func (c *Client) bundle() ([]byte, error) {
	files := map[string][]byte{}
	logs, err := filepath.Glob(c.d.State.Path("logs", "*.log*"))
	if err != nil {
		return nil, err
	}
	for _, name := range logs {
		if files["logs/"+filepath.Base(name)], err = tail(name); err != nil {
			return nil, err
		}
	}
	applied, err := c.d.State.Flow()
	if err != nil {
		return nil, err
	}
	if applied != nil {
		if files["flow.json"], err = c.redact(applied.Flow); err != nil {
			return nil, err
		}
	}
	c.mu.Lock()
	props, id := c.props, c.cfg.Identity
	c.mu.Unlock()
	for name, v := range map[string]any{"properties.json": props, "identity.json": id, "status.json": c.d.Engine.Status()} {
		if files[name], err = json.MarshalIndent(v, "", " "); err != nil {
			return nil, err
		}
	}
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	t := tar.NewWriter(z)
	for name, data := range files {
		if err := t.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(data)), ModTime: c.d.Clock.Now()}); err != nil {
			return nil, err
		}
		_, _ = t.Write(data) // to memory
	}
	_ = t.Close() // to memory
	_ = z.Close()
	return out.Bytes(), nil
}

func tail(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.NewSectionReader(f, max(0, info.Size()-maxDebug), maxDebug))
}

// redact hides the values of sensitive properties and parameters of a flow.
func (c *Client) redact(flow []byte) ([]byte, error) {
	var v any
	if err := json.Unmarshal(flow, &v); err != nil {
		return nil, err
	}
	c.hide(v)
	return json.MarshalIndent(v, "", " ")
}

func (c *Client) hide(v any) {
	switch v := v.(type) {
	case []any:
		for _, x := range v {
			c.hide(x)
		}
	case map[string]any:
		if v["sensitive"] == true && v["value"] != nil {
			v["value"] = hidden
		}
		kind, _ := v["type"].(string)                     // absent in what is no component
		properties, _ := v["properties"].(map[string]any) // as above
		for _, name := range c.d.Sensitive(kind) {
			if properties[name] != nil {
				properties[name] = hidden
			}
		}
		for _, x := range v {
			c.hide(x)
		}
	}
}
