package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"sluice.dev/sluice/internal/node"
)

func importKongCommand() *cobra.Command {
	var a admin
	var from string
	var without []string
	var replace, dry bool
	c := &cobra.Command{
		Use:   "kong --admin-url URL",
		Short: "Move a running Kong's configuration to a node",
		Long: `Move a running Kong's configuration to a node: everything that Kong's Admin API lists, with
ids, keys and the hashes of passwords as they are, in one transaction. Kong is only read.

A token for Kong's Admin API is taken from KONG_ADMIN_TOKEN, one for the node's from
SLUICE_ADMIN_TOKEN.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			k := kongReader{url: strings.TrimSuffix(from, "/"), token: os.Getenv("KONG_ADMIN_TOKEN")}
			doc, err := k.read(cmd.Context(), func(collection string, n int) {
				fmt.Fprintf(cmd.ErrOrStderr(), "%s: %d\n", collection, n)
			})
			if err != nil {
				return err
			}
			leaveOut(doc, without)
			body, err := json.Marshal(doc)
			if err != nil {
				return err
			}
			err = a.load(cmd, from, body, replace, dry)
			if bad, ok := errors.AsType[*node.InvalidFile](err); ok && strings.Contains(bad.Error(), "not enabled") {
				bad.Lines = append(bad.Lines, from+": --without-plugin NAME leaves out a plugin that is not served here")
			}
			return err
		},
	}
	c.Flags().StringVar(&from, "admin-url", "", "URL of Kong's Admin API")
	c.Flags().StringVar(&a.data, "data", node.Defaults().Data, "data directory of the node")
	c.Flags().StringVar(&a.url, "to", "", "URL of the node's Admin API, where its data directory is not at hand")
	c.Flags().StringSliceVar(&without, "without-plugin", nil, "leave out the plugins of a name; may be repeated")
	c.Flags().BoolVar(&replace, "replace", false, "remove what Kong does not have")
	c.Flags().BoolVar(&dry, "dry-run", false, "change nothing, but say what would be")
	_ = c.MarkFlagRequired("admin-url") // the flag exists
	return c
}

// kongReader reads a Kong through its Admin API.
type kongReader struct{ url, token string }

// kongCollections are the paths of Kong's collections, by the names they have in a
// declarative document.
var kongCollections = map[string]string{
	"services": "/services", "routes": "/routes", "consumers": "/consumers", "plugins": "/plugins", "upstreams": "/upstreams",
	"certificates": "/certificates", "snis": "/snis", "ca_certificates": "/ca_certificates", "vaults": "/vaults", "key_sets": "/key-sets", "keys": "/keys",
	"keyauth_credentials": "/key-auths", "basicauth_credentials": "/basic-auths", "jwt_secrets": "/jwts", "hmacauth_credentials": "/hmac-auths",
	"acls": "/acls", "oauth2_credentials": "/oauth2", "oauth2_tokens": "/oauth2_tokens", "mtls_auth_credentials": "/mtls-auths",
}

// leaveOut drops the plugins of some names.
func leaveOut(doc map[string]any, names []string) {
	if all, ok := doc["plugins"].([]map[string]any); ok {
		doc["plugins"] = slices.DeleteFunc(all, func(p map[string]any) bool {
			name, _ := p["name"].(string)
			return slices.Contains(names, name)
		})
	}
}

// optional are those that a Kong may lack, or not list.
var optional = []string{"mtls_auth_credentials", "oauth2_credentials", "oauth2_tokens", "vaults", "key_sets", "keys"}

func (k kongReader) read(ctx context.Context, progress func(collection string, n int)) (map[string]any, error) {
	doc := map[string]any{"_format_version": "3.0", "_transform": false}
	for _, name := range slices.Sorted(maps.Keys(kongCollections)) {
		records, err := k.list(ctx, kongCollections[name])
		if err != nil {
			if slices.Contains(optional, name) {
				continue
			}
			return nil, fmt.Errorf("reading %s: %w", name, err)
		}
		for _, r := range records {
			if name == "certificates" {
				delete(r, "snis") // they are listed themselves
			}
			dropNulls(r)
		}
		if name == "upstreams" {
			var targets []map[string]any
			for _, u := range records {
				of, err := k.list(ctx, "/upstreams/"+url.PathEscape(fmt.Sprint(u["id"]))+"/targets")
				if err != nil {
					return nil, fmt.Errorf("reading the targets of %v: %w", u["name"], err)
				}
				targets = append(targets, of...)
			}
			if len(targets) > 0 {
				doc["targets"] = targets
				progress("targets", len(targets))
			}
		}
		if len(records) > 0 {
			doc[name] = records
			progress(name, len(records))
		}
	}
	return doc, nil
}

// dropNulls removes fields that are not set. A Kong may have fields that are not known
// here; unset, they mean nothing.
func dropNulls(r map[string]any) {
	for k, v := range r {
		switch v := v.(type) {
		case nil:
			delete(r, k)
		case map[string]any:
			dropNulls(v)
		}
	}
}

// list reads all pages of a collection.
func (k kongReader) list(ctx context.Context, path string) ([]map[string]any, error) {
	var out []map[string]any
	for next := path + "?size=1000"; next != ""; {
		raw, err := adminCall(ctx, http.DefaultClient, http.MethodGet, k.url+next, nil, k.token)
		if err != nil {
			return nil, err
		}
		var page struct {
			Data []map[string]any
			Next *string
		}
		if err := json.Unmarshal(raw, &page); err != nil {
			return nil, err
		}
		out = append(out, page.Data...)
		next = ""
		if page.Next != nil {
			u, err := url.Parse(*page.Next)
			if err != nil {
				return nil, err
			}
			next = path + "?" + u.RawQuery
		}
	}
	return out, nil
}
