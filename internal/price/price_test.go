package price_test

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/price"
)

func TestExampleTable(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../contrib/prices/codebuild.yml")
	if err != nil {
		t.Fatal(err)
	}
	table, err := price.Parse("codebuild.yml", text)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		envType, size string
		price         float64
		unit          time.Duration
	}{
		{"", "BUILD_GENERAL1_SMALL", 0.005, time.Minute},
		{"LINUX_CONTAINER", "general1.large", 0.02, time.Minute},
		{"ARM_CONTAINER", "BUILD_GENERAL1_SMALL", 0.0034, time.Minute},
		{"LINUX_LAMBDA_CONTAINER", "BUILD_LAMBDA_1GB", 0.00002, time.Second},
		{"LINUX_LAMBDA_CONTAINER", "BUILD_LAMBDA_10GB", 0, time.Second},
		{"", "", 0, time.Minute},
	} {
		want := ci.Rate{Price: c.price, Unit: c.unit, Currency: "USD"}
		if got := table.Rate("docker", c.envType, c.size); got != want {
			t.Errorf("%s %s: got %+v, want %+v", c.envType, c.size, got, want)
		}
	}
}

func TestFirstLineThatFitsCounts(t *testing.T) {
	t.Parallel()
	table, err := price.Parse("p", []byte("currency: EUR\nprices:\n- {executor: local, minute: 0}\n- {size: BUILD_GENERAL1_SMALL, minute: 0.25}\n- {minute: 1e-6}\n"))
	if err != nil {
		t.Fatal(err)
	}
	for place, want := range map[[2]string]float64{{"local", "BUILD_GENERAL1_SMALL"}: 0, {"docker", "BUILD_GENERAL1_SMALL"}: 0.25, {"docker", "x"}: 1e-6, {"", ""}: 1e-6} {
		if got := table.Rate(place[0], "", place[1]); got.Price != want || got.Currency != "EUR" {
			t.Errorf("%v: got %+v, want %v EUR", place, got, want)
		}
	}
}

func TestAllThatIsWrongIsSaid(t *testing.T) {
	t.Parallel()
	_, err := price.Parse("prices.yml", []byte(`currency: dollars
colour: red
prices:
  - {size: A}
  - {size: B, minute: free}
  - {size: C, minute: 1, second: 1}
  - {size: D, minute: -1}
  - {siez: E, minute: 1}
  - F
  - {size: [G], minute: 1, minute: 2}
`))
	if !errors.Is(err, ci.ErrInvalid) {
		t.Fatalf("got %v, want ErrInvalid", err)
	}
	for _, want := range []string{
		"prices.yml:1:11: currency: want a code of three capital letters", `prices.yml:2:1: there is no "colour" here`,
		"prices.yml:4:5: price 1: has no price", `prices.yml:5:23: price 2: minute: "free" is no price`, "prices.yml:6:26: price 3: has a price by the minute and one by the second",
		`prices.yml:7:23: price 4: minute: "-1" is no price`, `prices.yml:8:6: price 5: there is no "siez" here`, "prices.yml:9:5: price 6: want executor",
		"prices.yml:10:12: price 7: size: want one value", `prices.yml:10:28: price 7: "minute" is there twice`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got\n%v\nwithout %q", err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"", "currency: USD\nprices: [{minute: 1}]", "prices: [{second: .inf}]", "a: &a [*a]", "prices:\n- size: x\n  minute: 0x10"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		table, err := price.Parse("p", text)
		if (table == nil) != (err != nil) || err != nil && !errors.Is(err, ci.ErrInvalid) {
			t.Fatalf("got %v, %v", table, err)
		}
		if err != nil {
			return
		}
		if r := table.Rate("local", "LINUX_CONTAINER", "x"); !(r.Price >= 0 && r.Price <= 1e6) || r.Unit != time.Second && r.Unit != time.Minute {
			t.Fatalf("got %+v", r)
		}
	})
}
