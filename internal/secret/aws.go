package secret

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/sluice-ci/sluice/internal/ci"
)

// AWS looks up parameters of SSM Parameter Store and secrets of Secrets Manager.
// Credentials are those that the AWS tools use: environment, profile, container;
// the instance's own only when asked for, as asking costs seconds elsewhere.
//
// It makes the two calls itself: the SDK's clients of the two services take
// several milliseconds to get ready at the start of every process.
type AWS struct {
	Instance bool         // also use the credentials of the EC2 instance
	Client   *http.Client // default: http.DefaultClient

	mu     sync.Mutex
	loaded *aws.Config
}

var _ ci.SecretSource = (*AWS)(nil)

// service is what differs between the two.
type service struct {
	name, target, endpointEnv string
}

var (
	parameterStore = service{"ssm", "AmazonSSM.GetParameter", "AWS_ENDPOINT_URL_SSM"}
	secretsManager = service{"secretsmanager", "secretsmanager.GetSecretValue", "AWS_ENDPOINT_URL_SECRETS_MANAGER"}
)

// Lookup asks AWS. ErrUnavailable: there are no credentials, no region, or no
// answer; ErrDenied: the credentials do not suffice.
func (a *AWS) Lookup(ctx context.Context, kind ci.VariableKind, ref string) (string, error) {
	switch kind {
	case ci.ParameterStore:
		v, err := a.parameter(ctx, ref)
		if err != nil {
			return "", fmt.Errorf("parameter %q of AWS Parameter Store: %w", ref, err)
		}
		return v, nil
	case ci.SecretsManager:
		v, err := a.managed(ctx, ref)
		if err != nil {
			return "", fmt.Errorf("secret %q of AWS Secrets Manager: %w", ref, err)
		}
		return v, nil
	}
	return "", fmt.Errorf("secret %q: AWS does not keep the kind %q: %w", ref, kind, ci.ErrNotFound)
}

func (a *AWS) parameter(ctx context.Context, ref string) (string, error) {
	var out struct {
		Parameter struct{ Value *string }
	}
	in := map[string]any{"Name": ref, "WithDecryption": true}
	if err := a.call(ctx, parameterStore, regionOf(ref), in, &out); err != nil {
		return "", err
	}
	if out.Parameter.Value == nil {
		return "", fmt.Errorf("the answer holds no value: %w", ci.ErrUnavailable)
	}
	return *out.Parameter.Value, nil
}

func (a *AWS) managed(ctx context.Context, ref string) (string, error) {
	r, err := ParseManagedRef(ref)
	if err != nil {
		return "", err
	}
	in := map[string]any{"SecretId": r.ID}
	if r.Stage != "" {
		in["VersionStage"] = r.Stage
	}
	if r.Version != "" {
		in["VersionId"] = r.Version
	}
	var out struct{ SecretString *string }
	if err := a.call(ctx, secretsManager, regionOf(r.ID), in, &out); err != nil {
		return "", err
	}
	if out.SecretString == nil {
		return "", fmt.Errorf("it is binary: keep it as text, in base64: %w", ci.ErrInvalid)
	}
	return pick(*out.SecretString, r.JSONKey)
}

// regionOf is the region that an ARN names; "" for a plain name.
func regionOf(ref string) string {
	if parts := strings.SplitN(ref, ":", 5); len(parts) == 5 && parts[0] == "arn" {
		return parts[3]
	}
	return ""
}

// configuration is read when the first secret is asked for.
func (a *AWS) configuration(ctx context.Context) (aws.Config, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.loaded != nil {
		return *a.loaded, nil
	}
	state := imds.ClientDisabled
	if a.Instance {
		state = imds.ClientDefaultEnableState
	}
	cfg, err := config.LoadDefaultConfig(ctx, config.WithEC2IMDSClientEnableState(state))
	if err != nil {
		return aws.Config{}, fmt.Errorf("read the AWS configuration: %w: %w", err, ci.ErrUnavailable)
	}
	a.loaded = &cfg
	return cfg, nil
}

// call makes one signed request, again when AWS is busy.
func (a *AWS) call(ctx context.Context, s service, region string, in, out any) error {
	cfg, err := a.configuration(ctx)
	if err != nil {
		return err
	}
	creds, err := credentials(ctx, cfg)
	if err != nil {
		return err
	}
	if region == "" {
		region = cfg.Region
	}
	if region == "" {
		return fmt.Errorf("no AWS region is configured: set AWS_REGION: %w", ci.ErrUnavailable)
	}
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	wait := 100 * time.Millisecond
	for try := 1; ; try++ {
		status, answer, err := a.post(ctx, cfg, creds, s, region, body)
		if err == nil && status == http.StatusOK {
			if json.Unmarshal(answer, out) != nil {
				return fmt.Errorf("the answer makes no sense: %w", ci.ErrUnavailable)
			}
			return nil
		}
		var busy bool
		if err == nil {
			busy, err = refusal(status, answer)
		} else {
			busy, err = ctx.Err() == nil, fmt.Errorf("ask AWS: %w: %w", err, ci.ErrUnavailable)
		}
		if !busy || try == 4 {
			return err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		wait *= 3
	}
}

func credentials(ctx context.Context, cfg aws.Config) (aws.Credentials, error) {
	hint := "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
	if cfg.Credentials == nil {
		return aws.Credentials{}, fmt.Errorf("no AWS credentials are configured: %s: %w", hint, ci.ErrUnavailable)
	}
	c, err := cfg.Credentials.Retrieve(ctx)
	if err == nil {
		return c, nil
	}
	if ctx.Err() != nil {
		return aws.Credentials{}, context.Cause(ctx)
	}
	return aws.Credentials{}, fmt.Errorf("no AWS credentials (%s): %w: %w", hint, err, ci.ErrUnavailable)
}

func (a *AWS) post(ctx context.Context, cfg aws.Config, creds aws.Credentials, s service, region string, body []byte) (int, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint(cfg, s, region), bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", "application/x-amz-json-1.1")
	req.Header.Set("X-Amz-Target", s.target)
	sum := sha256.Sum256(body)
	if err := v4.NewSigner().SignHTTP(ctx, creds, req, hex.EncodeToString(sum[:]), s.name, region, time.Now()); err != nil {
		return 0, nil, err
	}
	client := a.Client
	if client == nil {
		client = http.DefaultClient
	}
	res, err := client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	return res.StatusCode, answer, err
}

// endpoint is where the service is, or where the configuration says it is.
func endpoint(cfg aws.Config, s service, region string) string {
	for _, url := range []string{os.Getenv(s.endpointEnv), os.Getenv("AWS_ENDPOINT_URL"), aws.ToString(cfg.BaseEndpoint)} {
		if url != "" {
			return strings.TrimSuffix(url, "/") + "/"
		}
	}
	domain := "amazonaws.com"
	for prefix, d := range map[string]string{"cn-": "amazonaws.com.cn", "us-iso-": "c2s.ic.gov", "us-isob-": "sc2s.sgov.gov", "eusc-": "amazonaws.eu"} {
		if strings.HasPrefix(region, prefix) {
			domain = d
		}
	}
	return "https://" + s.name + "." + region + "." + domain + "/"
}

// refusal says what an error of AWS means, and whether to ask again.
func refusal(status int, answer []byte) (busy bool, err error) {
	var e struct {
		Type    string `json:"__type"`
		Message string `json:"message"`
		Upper   string `json:"Message"`
	}
	_ = json.Unmarshal(answer, &e) // not every proxy on the way answers in JSON
	if i := strings.LastIndexByte(e.Type, '#'); i >= 0 {
		e.Type = e.Type[i+1:]
	}
	text := strings.TrimSpace(e.Type + " " + e.Message + e.Upper)
	switch e.Type {
	case "ParameterNotFound", "ParameterVersionNotFound", "ResourceNotFoundException":
		return false, fmt.Errorf("it does not exist (%s): %w", text, ci.ErrNotFound)
	case "ThrottlingException", "RequestLimitExceeded", "TooManyRequestsException":
		return true, fmt.Errorf("AWS is busy (%s): %w", text, ci.ErrUnavailable)
	case "ValidationException", "InvalidParameterException", "InvalidRequestException":
		return false, fmt.Errorf("AWS refuses the reference (%s): %w", text, ci.ErrInvalid)
	}
	if status >= 500 {
		return true, fmt.Errorf("AWS answers %d (%s): %w", status, text, ci.ErrUnavailable)
	}
	if text == "" {
		return false, errors.Join(fmt.Errorf("AWS answers %d", status), ci.ErrUnavailable)
	}
	return false, fmt.Errorf("AWS denies it (%s); check the credentials and their rights: %w", text, ci.ErrDenied)
}
