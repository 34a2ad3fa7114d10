"""The application of FastAPI's security tutorial, behind the gate.

The gate has checked who is calling before a request comes here, by an access token or by a
browser's session, and says so in headers that nobody else can set. So there is no secret
here, no password and no token to verify.
"""

from typing import Annotated
from urllib.parse import unquote

from fastapi import Depends, FastAPI, Header, HTTPException, status
from fastapi.security import OAuth2PasswordBearer
from pydantic import BaseModel

app = FastAPI()

# The gate answers at the token URL; FastAPI's page at /docs gets its tokens there.
# auto_error=False: a browser that has signed in brings no Authorization header.
oauth2_scheme = OAuth2PasswordBearer(tokenUrl="/oauth2/token", auto_error=False)


class User(BaseModel):
    username: str
    groups: list[str]


def get_current_user(
    _: Annotated[str | None, Depends(oauth2_scheme)],
    x_forwarded_user: Annotated[str | None, Header()] = None,
    x_forwarded_groups: Annotated[str, Header()] = "",
) -> User:
    if not x_forwarded_user:  # somebody has reached the application past the gate
        raise HTTPException(
            status_code=status.HTTP_401_UNAUTHORIZED,
            detail="Not authenticated",
            headers={"WWW-Authenticate": "Bearer"},
        )
    # A comma inside a group comes percent-encoded.
    groups = [unquote(group) for group in x_forwarded_groups.split(",") if group]
    return User(username=x_forwarded_user, groups=groups)


@app.get("/users/me")
async def read_users_me(current_user: Annotated[User, Depends(get_current_user)]) -> User:
    return current_user
