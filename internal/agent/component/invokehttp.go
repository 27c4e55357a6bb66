package component

import (
	"context"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"sluice.dev/sluice/internal/agent/engine"
)

func invokeHTTP() engine.Definition {
	return engine.Definition{
		Type: standard + "InvokeHTTP", Description: "Sends requests by HTTP", Input: engine.InputAllowed,
		Properties: []engine.Property{
			{Name: "HTTP Method", Default: "GET", Required: true, Expression: true},
			{Name: "HTTP URL", Required: true, Expression: true, Check: engine.URL("http", "https")},
			{Name: "SSL Context Service", Service: sslAPI},
			{Name: "Connection Timeout", Default: "5 secs", Required: true, Check: engine.Duration},
			{Name: "Socket Read Timeout", Description: "For the answer, from its first byte to its last", Default: "15 secs", Required: true, Check: engine.Duration},
			{Name: "Request Username", Expression: true},
			{Name: "Request Password", Sensitive: true, Expression: true},
			{Name: "Request Content-Type", Default: "${mime.type}", Expression: true},
			{Name: "Request Body Enabled", Default: "true", Allowed: engine.Booleans()},
			{Name: "Response Redirects Enabled", Default: "True", Required: true, Allowed: []string{"True", "False"}},
			{Name: "Response Body Ignored", Default: "false", Allowed: engine.Booleans()},
		},
		Dynamic: &engine.Dynamic{Name: "A header", Value: "Its value", Description: "Headers of the request", Expression: true},
		Relationships: []engine.Relationship{
			relationship("Original", "The flow file of a request that was answered with success"), relationship("Response", "The answer of a request that was answered with success"),
			relationship("Retry", "Flow files whose request was answered by 5xx"), relationship("No Retry", "Flow files whose request was answered otherwise"),
			relationship("Failure", "Flow files whose request was not answered"),
		},
		New: func(s *engine.Settings) (engine.Processor, error) {
			i := &invoker{set: s, client: &http.Client{
				Timeout: s.Duration("Connection Timeout") + s.Duration("Socket Read Timeout"),
				Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: tlsOf(s, "SSL Context Service"), ForceAttemptHTTP2: true,
					DialContext:           (&net.Dialer{Timeout: s.Duration("Connection Timeout")}).DialContext,
					ResponseHeaderTimeout: s.Duration("Socket Read Timeout"), MaxIdleConnsPerHost: 16, IdleConnTimeout: time.Minute},
			}}
			if s.Text("Response Redirects Enabled") == "False" {
				i.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
			}
			return i, nil
		},
	}
}

type invoker struct {
	set    *engine.Settings
	client *http.Client
}

// Stop implements engine.Stopper.
func (i *invoker) Stop() { i.client.CloseIdleConnections() }

func (i *invoker) Trigger(ctx context.Context, s *engine.Session) error {
	f, err := s.Get()
	if err != nil || f == nil && s.Fed() {
		return err
	}
	resp, err := i.send(ctx, s, f)
	if err != nil {
		if f == nil {
			return err
		}
		f.Attributes["invokehttp.java.exception.message"] = err.Error()
		i.set.Log.Warn("a request was not answered", "uuid", f.ID(), "error", err)
		s.Penalize(f)
		s.Transfer(f, "Failure")
		return nil
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 == 2 {
		if err := i.answer(s, f, resp); err != nil {
			return err
		}
	}
	if f == nil {
		return nil
	}
	note(f, resp)
	switch resp.StatusCode / 100 {
	case 2:
		s.Transfer(f, "Original")
	case 5:
		s.Penalize(f)
		s.Transfer(f, "Retry")
	default:
		s.Transfer(f, "No Retry")
	}
	return nil
}

func note(f *engine.FlowFile, resp *http.Response) {
	f.Attributes["invokehttp.status.code"] = strconv.Itoa(resp.StatusCode)
	f.Attributes["invokehttp.status.message"] = http.StatusText(resp.StatusCode)
	f.Attributes["invokehttp.request.url"] = resp.Request.URL.Redacted()
}

func (i *invoker) send(ctx context.Context, s *engine.Session, f *engine.FlowFile) (*http.Response, error) {
	values := map[string]string{}
	for _, name := range append(i.set.Added(), "HTTP Method", "HTTP URL", "Request Username", "Request Password", "Request Content-Type") {
		v, err := i.set.Eval(name, f)
		if err != nil {
			return nil, err
		}
		values[name] = v
	}
	method := values["HTTP Method"]
	var body io.Reader
	if f != nil && i.set.Bool("Request Body Enabled") && (method == http.MethodPost || method == http.MethodPut || method == http.MethodPatch) {
		body = s.Read(f)
	}
	req, err := http.NewRequestWithContext(ctx, method, values["HTTP URL"], body)
	if err != nil {
		return nil, err
	}
	for _, name := range i.set.Added() {
		req.Header.Set(name, values[name])
	}
	if body != nil {
		req.ContentLength = f.Size()
		if f.Size() == 0 {
			req.Body = http.NoBody
		}
		if t := values["Request Content-Type"]; t != "" {
			req.Header.Set("Content-Type", t)
		} else if req.Header.Get("Content-Type") == "" {
			req.Header.Set("Content-Type", "application/octet-stream")
		}
	}
	if values["Request Username"] != "" {
		req.SetBasicAuth(values["Request Username"], values["Request Password"])
	}
	return i.client.Do(req)
}

// answer makes a flow file of the response.
func (i *invoker) answer(s *engine.Session, f *engine.FlowFile, resp *http.Response) error {
	var out *engine.FlowFile
	if f == nil {
		out = s.Create()
	} else {
		out = s.Create(f)
	}
	note(out, resp)
	if t := resp.Header.Get("Content-Type"); t != "" {
		out.Attributes[engine.AttrMime] = t
	}
	if !i.set.Bool("Response Body Ignored") {
		err := s.Write(out, func(w io.Writer) error {
			_, err := io.Copy(w, resp.Body)
			return err
		})
		if err != nil {
			return err
		}
	}
	s.Transfer(out, "Response")
	return nil
}
