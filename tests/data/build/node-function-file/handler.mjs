export const handle = (context) => `hello ${context.query.name}`;
