package testop

import "slices"

// User is somebody who can sign in.
type User struct {
	Subject       string // sub; never empty
	Name          string // name and preferred_username, and what login_hint and testop_user say
	Email         string // "" = no claim
	EmailVerified *bool  // nil = no claim
	Groups        []string
	Extra         map[string]any // more claims, whatever the scope
}

// claims are what scopes let a client know of u, without sub.
func (u User) claims(scopes []string) map[string]any {
	claims := map[string]any{}
	if slices.Contains(scopes, "profile") && u.Name != "" {
		claims["name"], claims["preferred_username"] = u.Name, u.Name
	}
	if slices.Contains(scopes, "email") && u.Email != "" {
		claims["email"] = u.Email
		if u.EmailVerified != nil {
			claims["email_verified"] = *u.EmailVerified
		}
	}
	if slices.Contains(scopes, "groups") && u.Groups != nil {
		claims["groups"] = u.Groups
	}
	for name, value := range u.Extra {
		claims[name] = value
	}
	return claims
}

// user is who signs in under name.
func (p *Provider) user(name string) User {
	p.mu.Lock()
	defer p.mu.Unlock()
	if name == "" || name == p.User.Name {
		return p.User
	}
	for _, u := range p.Users {
		if u.Name == name {
			return u
		}
	}
	return User{Subject: "sub-" + name, Name: name, Email: name + "@example.com", EmailVerified: new(true)}
}
