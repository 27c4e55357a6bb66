package iam

import (
	"context"
	"regexp"
	"strings"
	"time"

	"sluice.dev/sluice/internal/base/name"
	"sluice.dev/sluice/internal/base/store"
)

// User describes a user.
type User struct {
	Name    string
	Path    string
	ID      string
	ARN     name.ARN
	Created time.Time
}

var nameForm = regexp.MustCompile(`^[\w+=,.@-]{1,64}$`)
var policyNameForm = regexp.MustCompile(`^[\w+=,.@-]{1,128}$`)
var pathForm = regexp.MustCompile(`^/([\x21-\x7e]{1,510}/)?$`)

func (s *Service) describe(d *userDoc) User {
	return User{Name: d.Name, Path: d.Path, ID: d.ID, ARN: s.userARN(d.Path, d.Name), Created: d.Created}
}

// find returns a user after asking whether the caller may do action to it.
func (s *Service) find(ctx context.Context, r store.Reader, user string, action name.Action) (*userDoc, error) {
	d, ok := s.records.users.Get(r, strings.ToLower(user))
	arn := s.userARN("/", user)
	if ok {
		arn = s.userARN(d.Path, d.Name)
	}
	if err := s.Authorize(ctx, action, arn); err != nil {
		return nil, err
	}
	if !ok {
		return nil, NoEntity.Field("UserName", "The user with name %s cannot be found.", user)
	}
	return d, nil
}

// CreateUser makes a user without rights or keys.
func (s *Service) CreateUser(ctx context.Context, user, path string) (User, error) {
	if path == "" {
		path = "/"
	}
	if err := s.Authorize(ctx, "iam:CreateUser", s.userARN(path, user)); err != nil {
		return User{}, err
	}
	if !nameForm.MatchString(user) {
		return User{}, InvalidInput.Field("UserName", "The specified value for userName is invalid. It must contain only alphanumeric characters and/or the following: +=,.@_-")
	}
	if !pathForm.MatchString(path) {
		return User{}, InvalidInput.Field("Path", "The specified value for path is invalid. It must begin and end with / and contain only ASCII characters.")
	}
	d := &userDoc{Name: user, Path: path, ID: name.UniqueID("AIDA", 21), Created: s.deps.Clock.Now().UTC().Truncate(time.Second)}
	err := s.deps.Store.Update(ctx, func(tx *store.Tx) error {
		if s.records.users.Has(tx, strings.ToLower(user)) {
			return EntityExists.Field("UserName", "User with name %s already exists.", user)
		}
		return s.records.users.Insert(tx, strings.ToLower(user), d)
	})
	return s.describe(d), err
}

// GetUser returns a user.
func (s *Service) GetUser(ctx context.Context, user string) (User, error) {
	d, err := s.find(ctx, s.deps.Store.Snapshot(), user, "iam:GetUser")
	if err != nil {
		return User{}, err
	}
	return s.describe(d), nil
}

// ListUsers returns at most limit users under a path prefix, behind the name after, and
// whether there are more.
func (s *Service) ListUsers(ctx context.Context, prefix, after string, limit int) (users []User, more bool, err error) {
	if err := s.Authorize(ctx, "iam:ListUsers", s.userARN(prefix, "")); err != nil {
		return nil, false, err
	}
	for _, d := range s.records.users.All(s.deps.Store.Snapshot(), strings.ToLower(after)) {
		if !strings.HasPrefix(d.Path, prefix) {
			continue
		}
		if len(users) == limit {
			return users, true, nil
		}
		users = append(users, s.describe(d))
	}
	return users, false, nil
}

// DeleteUser removes a user that has neither keys nor policies left.
func (s *Service) DeleteUser(ctx context.Context, user string) error {
	return s.deps.Store.Update(ctx, func(tx *store.Tx) error {
		d, err := s.find(ctx, tx, user, "iam:DeleteUser")
		if err != nil {
			return err
		}
		id := strings.ToLower(d.Name)
		for range s.records.keys.Find(tx, "owner", id) {
			return DeleteConflict.New("Cannot delete entity, must delete access keys first.")
		}
		for range s.records.policies.Find(tx, "user", id) {
			return DeleteConflict.New("Cannot delete entity, must delete policies first.")
		}
		_, err = s.records.users.Delete(tx, id)
		return err
	})
}

// DescribeRoot returns the account root's ARN to a caller that may ask for it.
func (s *Service) DescribeRoot(ctx context.Context) (name.ARN, error) {
	arn := name.ARN{Service: "iam", Account: s.cfg.Account, Resource: "root"}
	return arn, s.Authorize(ctx, "iam:GetUser", arn)
}
