package authflow

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
)

// Where GitHub says what somebody belongs to: lists below the UserInfo endpoint, in
// pages.
const (
	organizationsPath = "/orgs"
	teamsPath         = "/teams"
	groupsPerPage     = 50 // a team takes some kilobytes
	maxGroupPages     = 20 // of each list
)

// withGroups puts what somebody belongs to into claims, as groups: organisations by
// their name, teams behind that of theirs (organisation/team). A list that could
// not be read whole counts as not read: a deny could be about the rest of it.
func (c *Client) withGroups(ctx context.Context, meta *metadata, info Claims, t *tokens) Claims {
	delete(info, "groups")
	groups := []any{}
	for path, nameOf := range map[string]func(map[string]any) string{
		organizationsPath: organizationName, teamsPath: teamName,
	} {
		address := strings.TrimSuffix(string(meta.UserInfoEndpoint), "/") + path
		entries, err := c.fetchPages(ctx, address, t)
		for _, item := range entries {
			entry, _ := item.(map[string]any)
			name := nameOf(entry)
			if name == "" {
				err = errors.New("an entry has no name")
			}
			groups = append(groups, name)
		}
		if err != nil {
			c.cfg.Logger.Warn("the groups could not be read", "issuer", c.cfg.Issuer, "from", path, "error", err)
			return markUnlearned(info, "groups", path)
		}
	}
	info["groups"] = groups
	return info
}

func organizationName(entry map[string]any) string {
	login, _ := entry["login"].(string)
	return login
}

// teamName is organisation/team. Neither part has a slash, so that no team is taken for
// an organisation, or for a team of another organisation.
func teamName(entry map[string]any) string {
	organization, _ := entry["organization"].(map[string]any)
	login := organizationName(organization)
	slug, _ := entry["slug"].(string)
	if login == "" || slug == "" || strings.Contains(login+slug, "/") {
		return ""
	}
	return login + "/" + slug
}

// fetchPages gets a whole list.
func (c *Client) fetchPages(ctx context.Context, address string, t *tokens) ([]any, error) {
	var all []any
	for page := 1; page <= maxGroupPages; page++ {
		list, err := c.fetchList(ctx, fmt.Sprintf("%s?per_page=%d&page=%d", address, groupsPerPage, page), t)
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
		if len(list) < groupsPerPage {
			return all, nil
		}
	}
	return nil, fmt.Errorf("more than %d entries", maxGroupPages*groupsPerPage)
}

// markUnlearned notes that a claim exists and could not be read, as OIDC Core 5.6.2 says
// that it stands elsewhere: no allow fits such a claim, and every deny does.
func markUnlearned(info Claims, claim, where string) Claims {
	names := map[string]any{claim: where}
	others, _ := info[claimNames].(map[string]any)
	maps.Copy(names, others)
	info[claimNames] = names
	return info
}

// emailsPath is where the addresses stand below the UserInfo endpoint.
const emailsPath = "/emails"

// mediaTypeList asks for a JSON list, which strictTransport puts into an object.
const mediaTypeList = "application/vnd.github+json"

// withEmails puts the primary address of the list of addresses into claims, with
// the word whether it is verified. What UserInfo itself says of an address is what
// the person has chosen to show. Without the list the address is not known.
func (c *Client) withEmails(ctx context.Context, meta *metadata, info Claims, t *tokens) Claims {
	delete(info, "email")
	delete(info, "email_verified")
	list, err := c.fetchList(ctx, strings.TrimSuffix(string(meta.UserInfoEndpoint), "/")+emailsPath, t)
	if err != nil {
		c.cfg.Logger.Warn("the list of e-mail addresses could not be read", "issuer", c.cfg.Issuer, "error", err)
		return markUnlearned(info, "email", emailsPath)
	}
	for _, item := range list {
		entry, _ := item.(map[string]any)
		if address, ok := entry["email"].(string); ok && entry["primary"] == true {
			info["email"], info["email_verified"] = address, entry["verified"] == true
		}
	}
	return info
}

// fetchList gets a JSON list with an access token.
func (c *Client) fetchList(ctx context.Context, address string, t *tokens) ([]any, error) {
	body, err := c.getWithToken(ctx, address, t, mediaTypeList)
	if err != nil {
		return nil, err
	}
	object, err := DecodeClaims(body)
	if err != nil {
		return nil, err
	}
	list, ok := object["list"].([]any)
	if !ok || len(object) != 1 {
		return nil, errors.New("the answer is no list")
	}
	return list, nil
}
