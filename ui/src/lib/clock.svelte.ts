/** The present, to the second, for everything that says how long ago. */
class Clock {
  now = $state.raw(new Date());

  constructor() {
    setInterval(() => (this.now = new Date()), 1000);
  }
}

export const clock = new Clock();
