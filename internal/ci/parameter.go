package ci

// ParameterType says what a parameter may be.
type ParameterType string

// Types of Parameter.
const (
	ParameterString   ParameterType = "string" // one line; the type where none is said
	ParameterText     ParameterType = "text"   // any number of lines
	ParameterBoolean  ParameterType = "boolean"
	ParameterChoice   ParameterType = "choice"
	ParameterPassword ParameterType = "password" // sealed where it is stored, masked in the output
)

// Parameter is something that a build of a project can be given when it is
// started. Its commands find it in the variable of its name.
type Parameter struct {
	Name        string        `json:"name"`
	Type        ParameterType `json:"type,omitempty"`
	Description string        `json:"description,omitempty"`
	Default     string        `json:"default,omitempty"` // of a choice "" is the first
	Choices     []string      `json:"choices,omitempty"`
	Required    bool          `json:"required,omitempty"` // there is no build without it
}

// SealName is what the value of a password is sealed under.
func SealName(project, parameter string) string { return "parameter " + parameter + " of " + project }
