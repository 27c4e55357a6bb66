package kms_test

import (
	"bytes"
	"context"
	"path/filepath"
	"testing"
	"time"

	"sluice.dev/sluice/internal/base/caller"
	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/base/fault"
	"sluice.dev/sluice/internal/base/name"
	"sluice.dev/sluice/internal/base/store"
	"sluice.dev/sluice/internal/service/kms"
)

var denied = &fault.Reason{Kind: fault.Denied, Name: "Denied"}

// guard allows all but the actions it denies, and remembers what it was asked.
type guard struct {
	deny  map[name.Action]bool
	asked []string
}

func (g *guard) Authorize(_ context.Context, action name.Action, resource name.ARN, _ ...name.Attr) error {
	g.asked = append(g.asked, string(action)+" "+resource.String())
	if g.deny[action] {
		return denied.New("no")
	}
	return nil
}

func open(t *testing.T) (*kms.Service, *guard, context.Context) {
	t.Helper()
	s, err := store.Open(t.Context(), store.Config{URL: "sqlite://" + filepath.Join(t.TempDir(), "c.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() }) // the test is over
	g := &guard{deny: map[name.Action]bool{}}
	svc, err := kms.New(t.Context(), kms.Config{Account: "123456789012", Root: [32]byte{1}},
		kms.Deps{Store: s, Auth: g, Clock: clock.Fixed(time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC))})
	if err != nil {
		t.Fatal(err)
	}
	return svc, g, caller.WithRequest(t.Context(), caller.Request{Region: "eu-west-1"})
}

func TestCiphertextsAreBoundToKeyAndContext(t *testing.T) {
	s, _, ctx := open(t)
	key, err := s.CreateKey(ctx, "one")
	if err != nil {
		t.Fatal(err)
	}
	other, err := s.CreateKey(ctx, "two")
	if err != nil {
		t.Fatal(err)
	}
	bound := map[string]string{"tenant": "a", "purpose": "b"}
	blob, arn, err := s.Encrypt(ctx, key.ID, []byte("secret"), bound)
	if err != nil || arn != key.ARN {
		t.Fatal(arn, err)
	}
	if bytes.Contains(blob, []byte("secret")) {
		t.Fatal("the ciphertext shows the plaintext")
	}
	plain, arn, err := s.Decrypt(ctx, blob, "", map[string]string{"purpose": "b", "tenant": "a"})
	if err != nil || string(plain) != "secret" || arn != key.ARN {
		t.Fatalf("%q %v %v", plain, arn, err)
	}
	for what, try := range map[string]func() error{
		"another context": func() error { _, _, err := s.Decrypt(ctx, blob, "", map[string]string{"tenant": "a"}); return err },
		"no context":      func() error { _, _, err := s.Decrypt(ctx, blob, "", nil); return err },
		"keys for values": func() error {
			_, _, err := s.Decrypt(ctx, blob, "", map[string]string{"tenanta": "", "purpose": "b"})
			return err
		},
		"cut short": func() error { _, _, err := s.Decrypt(ctx, blob[:20], "", bound); return err },
		"nothing":   func() error { _, _, err := s.Decrypt(ctx, nil, "", bound); return err },
	} {
		if err := try(); !kms.InvalidCiphertext.Is(err) {
			t.Errorf("%s: %v, want InvalidCiphertext", what, err)
		}
	}
	if _, _, err := s.Decrypt(ctx, blob, other.ID, bound); !kms.IncorrectKey.Is(err) {
		t.Errorf("another key named: %v", err)
	}
	for i := range blob { // every byte counts
		bad := bytes.Clone(blob)
		bad[i] ^= 1
		if _, _, err := s.Decrypt(ctx, bad, "", bound); err == nil {
			t.Fatalf("a flipped bit in byte %d went unnoticed", i)
		}
	}
}

func TestADisabledKeyLocksWhatItSealed(t *testing.T) {
	s, _, ctx := open(t)
	key, err := s.CreateKey(ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	blob, _, err := s.Encrypt(ctx, key.ID, []byte("x"), nil)
	if err != nil {
		t.Fatal(err)
	}
	plain, wrapped, _, err := s.NewDataKey(ctx, key.ARN.String(), []byte("object 1"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.OpenDataKey(ctx, wrapped, []byte("object 1")); err != nil || got != plain {
		t.Fatal("the data key does not come back", err)
	}
	if _, err := s.OpenDataKey(ctx, wrapped, []byte("object 2")); err == nil {
		t.Fatal("a data key opened for another object")
	}
	if err := s.DisableKey(ctx, key.ID); err != nil {
		t.Fatal(err)
	}
	for what, try := range map[string]func() error{
		"Decrypt": func() error { _, _, err := s.Decrypt(ctx, blob, "", nil); return err },
		"Encrypt": func() error { _, _, err := s.Encrypt(ctx, key.ID, []byte("x"), nil); return err },
		"GenerateDataKey": func() error {
			_, _, _, err := s.GenerateDataKey(ctx, key.ID, 32, nil, "kms:GenerateDataKey")
			return err
		},
		"OpenDataKey": func() error { _, err := s.OpenDataKey(ctx, wrapped, []byte("object 1")); return err },
		"NewDataKey":  func() error { _, _, _, err := s.NewDataKey(ctx, key.ID, nil); return err },
	} {
		if err := try(); !kms.KeyDisabled.Is(err) {
			t.Errorf("%s with a disabled key: %v", what, err)
		}
	}
	if err := s.EnableKey(ctx, key.ID); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Decrypt(ctx, blob, "", nil); err != nil {
		t.Errorf("after enabling: %v", err)
	}
}

func TestThePlatformKeyIsThePlatforms(t *testing.T) {
	s, g, ctx := open(t)
	_, wrapped, arn, err := s.NewDataKey(ctx, "", []byte("log"))
	if err != nil {
		t.Fatal(err)
	}
	g.deny["kms:Decrypt"] = true
	if _, err := s.OpenDataKey(ctx, wrapped, []byte("log")); err != nil {
		t.Errorf("the platform's own key asks for rights: %v", err)
	}
	region := caller.WithRequest(ctx, caller.Request{Region: arn.Region})
	if err := s.DisableKey(region, arn.String()); !kms.ManagedKey.Is(err) {
		t.Errorf("disabling the platform's key: %v", err)
	}
	if err := s.CreateAlias(region, "alias/mine", arn.String()); !kms.ManagedKey.Is(err) {
		t.Errorf("naming the platform's key: %v", err)
	}
}

func TestRightsAreAskedFirst(t *testing.T) {
	s, g, ctx := open(t)
	key, err := s.CreateKey(ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	blob, _, err := s.Encrypt(ctx, key.ID, []byte("x"), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range []name.Action{"kms:Decrypt", "kms:Encrypt", "kms:DescribeKey", "kms:DisableKey", "kms:CreateKey", "kms:ListKeys", "kms:ListAliases", "kms:CreateAlias", "kms:DeleteAlias"} {
		g.deny[a] = true
	}
	for what, try := range map[string]func() error{
		"Decrypt":             func() error { _, _, err := s.Decrypt(ctx, blob, "", nil); return err },
		"Decrypt of nonsense": func() error { _, _, err := s.Decrypt(ctx, []byte("nonsense"), "", nil); return err },
		"Encrypt":             func() error { _, _, err := s.Encrypt(ctx, key.ID, []byte("x"), nil); return err },
		"DescribeKey":         func() error { _, err := s.DescribeKey(ctx, key.ID); return err },
		"DescribeKey of none": func() error { _, err := s.DescribeKey(ctx, "no-such-key"); return err },
		"DisableKey":          func() error { return s.DisableKey(ctx, key.ID) },
		"CreateKey":           func() error { _, err := s.CreateKey(ctx, ""); return err },
		"ListKeys":            func() error { _, _, err := s.ListKeys(ctx, "", 10); return err },
		"ListAliases":         func() error { _, _, err := s.ListAliases(ctx, "", "", 10); return err },
		"CreateAlias":         func() error { return s.CreateAlias(ctx, "alias/a", key.ID) },
		"DeleteAlias":         func() error { return s.DeleteAlias(ctx, "alias/a") },
	} {
		if err := try(); fault.KindOf(err) != fault.Denied {
			t.Errorf("%s without the right: %v", what, err)
		}
	}
}

func TestAliases(t *testing.T) {
	s, _, ctx := open(t)
	key, err := s.CreateKey(ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.CreateAlias(ctx, "alias/lake", key.ID); err != nil {
		t.Fatal(err)
	}
	if err := s.CreateAlias(ctx, "alias/lake", key.ID); !kms.AliasExists.Is(err) {
		t.Errorf("twice: %v", err)
	}
	for _, bad := range []string{"lake", "alias/", "alias/aws/s3", "alias/sluice/x", "alias/with space"} {
		if err := s.CreateAlias(ctx, bad, key.ID); !kms.InvalidAlias.Is(err) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	for _, ref := range []string{key.ID, key.ARN.String(), "alias/lake", "arn:aws:kms:eu-west-1:123456789012:alias/lake"} {
		if got, err := s.DescribeKey(ctx, ref); err != nil || got.ID != key.ID {
			t.Errorf("%s: %v %v", ref, got.ID, err)
		}
	}
	if err := s.DeleteAlias(ctx, "alias/lake"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.DescribeKey(ctx, "alias/lake"); !kms.NoKey.Is(err) {
		t.Errorf("after deletion: %v", err)
	}
}
