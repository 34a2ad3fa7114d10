package authflow

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"

	"github.com/gatehouse-auth/gatehouse/internal/secret"
)

// Some providers speak OAuth 2.0 and no OpenID Connect. They issue no ID token:
// who somebody is, their UserInfo endpoint alone says, asked with an access token
// that came straight from the token endpoint, for a code that PKCE binds to the
// attempt. So nobody can bring a token of another client here. There is no nonce,
// and nothing says how and when the person signed in.

// wholeNumber is the one spelling of a whole number that is accepted: 1000, and
// not 1e3, 1000.0 or -0, so that one number is one text.
var wholeNumber = regexp.MustCompile(`^(0|-?[1-9][0-9]*)$`)

// isPlain tells whether the provider issues no ID tokens.
func (cfg Config) isPlain() bool { return cfg.SubjectFrom != "" }

// finishPlain is the end of [Client.Finish] where no ID token is expected. One
// that came is not looked at: nothing had asked for it (RFC 6749 5.1).
func (c *Client) finishPlain(ctx context.Context, req FinishRequest, t *tokens) (*Grant, error) {
	claims, err := c.identify(ctx, t, req.NeededClaims)
	if err == nil { // what cannot be told is not as it was asked for
		err = req.Attempt.required.check(claims, c.cfg.Now(), c.cfg.Leeway)
	}
	if err != nil {
		return nil, err
	}
	return c.plainGrant(claims, t), nil
}

// refreshPlain is the end of [Client.Refresh] where no ID token is expected.
func (c *Client) refreshPlain(ctx context.Context, req RefreshRequest, t *tokens) (*Grant, error) {
	claims, err := c.identify(ctx, t, req.NeededClaims)
	sub, _ := claims.String("sub")
	switch reason := ReasonOf(err); {
	case reason == ReasonSubMissing, reason == ReasonSubMalformed, err == nil && sub != req.Subject:
		return nil, final(NewError(ReasonUserInfoSubject, cmp.Or(err, fmt.Errorf("sub is %.300q, expected %q", sub, req.Subject))))
	case err != nil:
		c.cfg.Logger.Warn("no claims at refresh", "issuer", c.cfg.Issuer, "error", err)
	}
	grant := c.plainGrant(claims, t)
	grant.Subject, grant.AuthTime = req.Subject, req.AuthTime
	return grant, nil
}

// plainGrant is a grant without an ID token: nothing of its claims is signed.
func (c *Client) plainGrant(claims Claims, t *tokens) *Grant {
	grant := c.newGrant(claims, t)
	grant.IDToken, grant.SignedClaims = secret.String{}, nil
	return grant
}

// identify asks UserInfo who it is that the access token was issued for. The
// claims have sub, whatever the provider calls it, and nothing that only an ID
// token can say.
func (c *Client) identify(ctx context.Context, t *tokens, needed []string) (Claims, error) {
	meta, err := c.metadata(ctx)
	if err != nil {
		return nil, err
	}
	info, err := c.fetchUserInfo(ctx, string(meta.UserInfoEndpoint), t)
	if err != nil {
		return nil, err
	}
	if info["error"] != nil { // some say 200 to it
		return nil, NewError(ReasonUserInfo, errors.New("the answer is an error"))
	}
	subject, err := subjectFrom(info, c.cfg.SubjectFrom)
	if err != nil {
		return nil, err
	}
	if c.cfg.UserInfoEmails && slices.Contains(needed, "email") {
		info = c.withEmails(ctx, meta, info, t)
	}
	if c.cfg.UserInfoGroups && slices.Contains(needed, "groups") {
		info = c.withGroups(ctx, meta, info, t)
	}
	return mergeClaims(Claims{"sub": subject}, c.withSources(ctx, info, needed)), nil
}

// subjectFrom returns who the answer of UserInfo is about: the text at a path, or
// the whole number, as a sub could be (OIDC Core 2).
func subjectFrom(info Claims, path string) (string, error) {
	value, ok := info.Lookup(path)
	if !ok {
		return "", NewError(ReasonSubMissing, fmt.Errorf("no %s", path))
	}
	subject, isText := value.(string)
	if !isText {
		// A number keeps the digits that were sent: as a float, two accounts of
		// more than 53 bits would be one.
		subject = fmt.Sprint(value)
		if !wholeNumber.MatchString(subject) {
			return "", NewError(ReasonSubMalformed, fmt.Errorf("%s is neither a text nor a whole number", path))
		}
	}
	return subject, checkSubject(Claims{"sub": subject})
}
