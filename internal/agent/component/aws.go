package component

import (
	"net/http"
	"strings"
	"time"

	"sluice.dev/sluice/internal/agent/engine"
	"sluice.dev/sluice/internal/api/aws/awswire"
)

const credentialsAPI = "org.apache.nifi.processors.aws.credentials.provider.AwsCredentialsProviderService"

func awsCredentials() engine.Definition {
	return engine.Definition{
		Type:        "org.apache.nifi.processors.aws.credentials.provider.service.AWSCredentialsProviderControllerService",
		Description: "The access key that requests to AWS APIs are signed with", Provides: []string{credentialsAPI},
		Properties: []engine.Property{
			{Name: "Access Key ID", Required: true, Sensitive: true},
			{Name: "Secret Access Key", Required: true, Sensitive: true},
			{Name: "Session Token", Description: "Of a temporary key", Sensitive: true},
		},
		NewService: func(s *engine.Settings) (any, error) {
			return &awsKey{id: s.Text("Access Key ID"), secret: s.Text("Secret Access Key"), token: s.Text("Session Token")}, nil
		},
	}
}

type awsKey struct{ id, secret, token string }

// awsProperties are what all processors of AWS APIs have.
func awsProperties(own ...engine.Property) []engine.Property {
	return append(own,
		engine.Property{Name: "AWS Credentials Provider service", Required: true, Service: credentialsAPI},
		engine.Property{Name: "Region", Default: "us-east-1", Required: true},
		engine.Property{Name: "Endpoint Override URL", Description: "Where the API is; AWS' own if empty", Check: engine.URL("http", "https")},
		engine.Property{Name: "Communications Timeout", Default: "30 secs", Required: true, Check: engine.Duration},
		engine.Property{Name: "SSL Context Service", Service: sslAPI},
	)
}

// awsClient makes a client of one of the APIs.
func awsClient(s *engine.Settings, api string) *awswire.Client {
	key, _ := s.Service("AWS Credentials Provider service").(*awsKey) // required and checked
	c := &awswire.Client{Endpoint: s.Text("Endpoint Override URL"), Region: s.Text("Region"), AccessKeyID: key.id, Secret: key.secret, SessionToken: key.token,
		HTTP: &http.Client{Timeout: s.Duration("Communications Timeout"), Transport: &http.Transport{Proxy: http.ProxyFromEnvironment,
			TLSClientConfig: tlsOf(s, "SSL Context Service"), ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 16, IdleConnTimeout: time.Minute}}}
	if c.Endpoint == "" {
		c.Endpoint = "https://" + api + "." + c.Region + ".amazonaws.com"
	}
	c.Endpoint = strings.TrimRight(c.Endpoint, "/")
	return c
}
