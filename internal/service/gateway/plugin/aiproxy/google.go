package aiproxy

import (
	"encoding/json"
	"errors"
	"os"

	"golang.org/x/oauth2/jwt"
)

// scopeGoogle is what the tokens of service accounts are asked for.
const scopeGoogle = "https://www.googleapis.com/auth/cloud-platform"

// serviceAccount reads the JSON that Google gives out for a service account, or where that
// is empty the environment's. Its errors hold nothing of it.
func serviceAccount(text string) (*jwt.Config, error) {
	if text == "" {
		text = os.Getenv("GCP_SERVICE_ACCOUNT")
	}
	if text == "" {
		return nil, errors.New("there is no service account: neither gcp_service_account_json nor GCP_SERVICE_ACCOUNT is set")
	}
	var a struct {
		Email string `json:"client_email"`
		ID    string `json:"private_key_id"`
		Key   string `json:"private_key"`
		URI   string `json:"token_uri"`
	}
	if json.Unmarshal([]byte(text), &a) != nil || a.Email == "" || a.Key == "" {
		return nil, errors.New("the service account is not of the form that Google gives out")
	}
	if a.URI == "" {
		a.URI = "https://oauth2.googleapis.com/token"
	}
	return &jwt.Config{Email: a.Email, PrivateKey: []byte(a.Key), PrivateKeyID: a.ID, Scopes: []string{scopeGoogle}, TokenURL: a.URI}, nil
}
