package main

// user is somebody who has an account at the demo's provider.
type user struct {
	Subject, Name, FullName, Password string
	Groups                            []string
}

func (u user) email() string { return u.Name + "@example.com" }

// users are all accounts. The gate lets staff and admins in, so not carol.
var users = []user{
	{"4f7c1e", "alice", "Alice Archer", "wonderland", []string{"staff", "admins"}},
	{"9b02d8", "bob", "Bob Baker", "builder", []string{"staff"}},
	{"c35a60", "carol", "Carol Carter", "christmas", []string{"guests"}},
}

// findUser returns nil if test accepts nobody.
func findUser(test func(user) bool) *user {
	for _, u := range users {
		if test(u) {
			return &u
		}
	}
	return nil
}
